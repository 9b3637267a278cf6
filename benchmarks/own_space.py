"""Our sampler on trained networks of our own: how soon it has found the front of the 24 in `results/curves`.

    OMP_NUM_THREADS=1 python benchmarks/own_space.py --orders 100 --out benchmarks/own_space.json

Nothing is trained or timed. A search sees of each network the last accuracy of one of its trained seeds, drawn
anew for every search, and the measured latency. What it has found is judged by accuracies averaged over the
seeds: percent of the hypervolume of all 24 that is missing, means over the searches with 95 % intervals
(Student's t). The reference is the 25th percentile of these accuracies and the longest latency. `front` draws
its first five at random, as a search does.
"""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import optuna
from curves import settings
from scipy.stats import t
from stopping import Trained, read_trained

from mvit2_search.analysis.pareto import hypervolume
from mvit2_search.predict.guess import exactly
from mvit2_search.sampler.domain import Domain, Params
from mvit2_search.sampler.front import FrontSampler
from mvit2_search.sampler.optuna import distributions
from mvit2_search.space import load_space
from mvit2_search.system.files import write_atomically

MARKS = (6, 9, 12, 16, 20)
FIRST = 5


class Table:
    """The 24 networks in the order of `settings`."""

    def __init__(self, trained: Trained) -> None:
        self.space = load_space("blocks")
        self.params: list[Params] = list(settings())
        place = {key: i for i, key in enumerate(trained.keys)}
        rows = [place[self.space.decode(params).key] for params in self.params]
        self.last_AS = trained.pct_ASE[rows, :, -1]
        self.latency_A = trained.latency_A[rows]
        self._index = {tuple(params.values()): i for i, params in enumerate(self.params)}
        self.reference = (float(np.percentile(self.last_AS.mean(1), 25)), float(self.latency_A.max()))
        self._best = self.volume(range(len(self.params)))

    def index(self, params: Params) -> int | None:
        return self._index.get(tuple(params[axis.name] for axis in self.space.axes))

    def latency(self, many: Sequence[Params]) -> np.ndarray:
        """Infinite for networks that have not been trained."""
        found = [self.index(params) for params in many]
        return np.array([np.inf if i is None else self.latency_A[i] for i in found])

    def volume(self, found: Sequence[int]) -> float:
        accuracy = self.last_AS.mean(1)[list(found)].tolist()
        return hypervolume(accuracy, self.latency_A[list(found)].tolist(), reference=self.reference)

    def gap_pct(self, found: Sequence[int]) -> float:
        return 100 * (1 - self.volume(found) / self._best)


def search(table: Table, seed: int) -> list[int]:
    """In which order `FrontSampler` takes the networks."""
    rng = np.random.default_rng([1, seed])
    seen_A = table.last_AS[
        np.arange(len(table.params)), rng.integers(table.last_AS.shape[1], size=len(table.params))
    ]
    taken: list[int] = []
    domain = Domain(
        distributions=distributions(table.space),
        latency=lambda many: exactly(table.latency(many)),
        limit_ms=table.reference[1],
        remaining=lambda: [params for i, params in enumerate(table.params) if i not in taken],
    )
    study = optuna.create_study(
        directions=["maximize", "minimize"], sampler=FrontSampler(domain, seed=seed, first=FIRST)
    )
    for _ in range(max(MARKS)):
        trial = study.ask(dict(domain.distributions))
        i = table.index(trial.params)
        assert i is not None
        study.tell(trial, (float(seen_A[i]), float(table.latency_A[i])))
        taken.append(i)
    return taken


def at_random(table: Table, seed: int) -> list[int]:
    order: list[int] = np.random.default_rng([2, seed]).permutation(len(table.params)).tolist()
    return order


def gaps(table: Table, orders: Sequence[Sequence[int]]) -> dict[int, tuple[float, float]]:
    """Mean gap and half the width of its interval, by trainings."""
    found = {}
    for mark in MARKS:
        values = [table.gap_pct(order[:mark]) for order in orders]
        margin = float(t.ppf(0.975, len(values) - 1)) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
        found[mark] = float(np.mean(values)), margin
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, default=Path("results/curves"))
    parser.add_argument("--orders", type=int, default=100)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    table = Table(read_trained(options.curves))
    report = {
        name: gaps(table, [make(table, seed) for seed in range(options.orders)])
        for name, make in (("front", search), ("random", at_random))
    }
    for name, row in report.items():
        print(name, ", ".join(f"{mark}: {mean:.1f} ± {margin:.1f} %" for mark, (mean, margin) in row.items()))
    if options.out:
        write_atomically(options.out, json.dumps({"orders": options.orders, "gap_pct": report}, indent=1) + "\n")


if __name__ == "__main__":
    main()
