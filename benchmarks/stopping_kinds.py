"""What stopping rules do to simulated searches whose curves are of more than one kind.

    python benchmarks/stopping_kinds.py --searches 300 --out benchmarks/stopping_kinds.json

Simulations only: nothing is trained or timed; half an hour on two cores. Candidates come in random order; the
accuracy at the end grows with the latency, 4 points of standard deviation about that. Searches differ in epochs (3
to 20) and in the noise of all epochs but the last (0.3 or 1 point); all rules see the same searches. Kinds:

- `alike`: all curves approach their end alike;
- `slow kind comes later`: after 40 % of the candidates, six in ten have twice the multiply-adds at equal latency
  and six more layers; they are about 20 points lower at first, and end 4 points higher;
- `late bloomers`: one in eight, by no sign, is about 15 points lower at first and ends like the others;
- `late jumps`: one in ten, by no sign, is 6 points lower until it jumps, after 50 to 95 % of the training.

Printed for every rule, kind and number of candidates, in percent: searches that lose a member of the front (it was
stopped, and training everything would have shown it to be on the front), members of fronts that were lost, and
epochs trained. `before` is the rule without audit, sizes and widening.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from stopping import followed

from mvit2_search.analysis.pareto import front_mask
from mvit2_search.stopping.audit import proportion_interval
from mvit2_search.stopping.curves import Curve, Size
from mvit2_search.stopping.rules import Dominance
from mvit2_search.system.files import write_atomically

EPOCHS, NOISES = (3, 5, 8, 12, 20), (0.3, 1.0)


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Everything about the candidates of one search, in their order."""

    curves_NE: np.ndarray
    latency_N: np.ndarray
    sizes: tuple[Size, ...]


class Draft:
    """Candidates that are alike; kinds change them."""

    def __init__(self, rng: np.random.Generator, count: int, epochs: int) -> None:
        self.rng, self.count = rng, count
        self.way_E = np.linspace(0, 1, epochs)
        self.latency_N = rng.uniform(5, 20, count)
        self.macs_N = self.latency_N * np.exp(rng.normal(0, 0.15, count))
        self.layers_N = rng.integers(3, 8, count) + np.round(self.latency_N / 5)
        self.last_N = 60 + 8 * np.log(self.latency_N) + rng.normal(0, 4, count)
        approach_E = 20 * (np.exp(-4 * self.way_E) - np.exp(-4)) / (1 - np.exp(-4))
        self.missing_NE = np.tile(approach_E, (count, 1))

    def candidates(self, noise: float) -> Candidates:
        scatter_NE = self.rng.normal(0, noise, self.missing_NE.shape) * (self.way_E < 1)
        params_N = self.macs_N * np.exp(self.rng.normal(0, 0.2, self.count))
        sizes = zip(np.log(self.macs_N), np.log(params_N), self.layers_N, strict=True)
        return Candidates(
            curves_NE=self.last_N[:, None] - self.missing_NE + scatter_NE,
            latency_N=self.latency_N,
            sizes=tuple(Size(*map(float, size)) for size in sizes),
        )

    def lag(self, chosen_N: np.ndarray, points: float) -> None:
        """Let some be lower, less and less so towards the end, each by 0.7 to 1.3 of `points` at first."""
        points_N = chosen_N * self.rng.uniform(0.7, 1.3, self.count) * points
        self.missing_NE += points_N[:, None] * (1 - self.way_E) ** 0.7


def alike(draft: Draft) -> None:
    """Nothing to change."""


def slow_kind(draft: Draft) -> None:
    late_N = np.arange(draft.count) >= 0.4 * draft.count
    slow_N = late_N & (draft.rng.random(draft.count) < 0.6)
    draft.macs_N *= np.where(slow_N, 2, 1)
    draft.layers_N += 6 * slow_N
    draft.last_N += 4 * slow_N
    draft.lag(slow_N, 20)


def late_bloomers(draft: Draft) -> None:
    draft.lag(draft.rng.random(draft.count) < 1 / 8, 15)


def late_jumps(draft: Draft) -> None:
    chosen_N, jump_N = draft.rng.random(draft.count) < 0.1, draft.rng.uniform(0.5, 0.95, draft.count)
    draft.missing_NE += 6 * (chosen_N[:, None] & (draft.way_E < jump_N[:, None]))


KINDS: dict[str, Callable[[Draft], None]] = {
    "alike": alike,
    "slow kind comes later": slow_kind,
    "late bloomers": late_bloomers,
    "late jumps": late_jumps,
}
BEFORE = {"most_missed": 1.0, "share": 0.0, "larger": 0, "slack": 0.0}
RULES: dict[str, dict[str, float]] = {
    "before": BEFORE,
    "dominance": {},
}
SETTINGS: dict[str, dict[str, float]] = {
    "audit vouches always": {"most_missed": 1.0},
    "audit vouches at 20 %": {"most_missed": 0.2},
    "audit vouches at 40 %": {"most_missed": 0.4},
    "share 0": {"share": 0.0},
    "share a quarter": {"share": 0.25},
    "any size": {"larger": 0},
    "not widened": {"slack": 0.0},
    "sizes unknown": {},
}
WITHOUT_SIZES = ("before", "sizes unknown")


def search(candidates: Candidates, rule: Dominance, lot_N: np.ndarray, *, sized: bool) -> np.ndarray:
    """How many epochs each candidate is trained."""
    past: list[Curve] = []
    for i, size in enumerate(candidates.sizes):
        whole = Curve(
            scores=tuple(candidates.curves_NE[i].tolist()),
            latency_ms=float(candidates.latency_N[i]),
            size=size if sized else Size(0, 0, 0),
            finished=True,
        )
        past.append(followed(rule, past, whole, lot=float(lot_N[i])))
    return np.array([len(curve.scores) for curve in past])


def one_search(number: int, *, kind: str, count: int, rule: str) -> tuple[int, int, float]:
    """Members of the front that were lost, members in all, and the share of epochs trained."""
    rng = np.random.default_rng([number, count, list(KINDS).index(kind)])
    epochs, noise = EPOCHS[number % len(EPOCHS)], NOISES[number // len(EPOCHS) % len(NOISES)]
    draft = Draft(rng, count, epochs)
    KINDS[kind](draft)
    candidates, lot_N = draft.candidates(noise), rng.random(count)
    made = Dominance(**{**RULES, **SETTINGS}[rule])  # type: ignore[arg-type]
    trained_N = search(candidates, made, lot_N, sized=rule not in WITHOUT_SIZES)
    front_N = front_mask(candidates.curves_NE[:, -1].tolist(), candidates.latency_N.tolist())
    return int((front_N & (trained_N < epochs)).sum()), int(front_N.sum()), float(trained_N.mean() / epochs)


def row(searches: list[tuple[int, int, float]]) -> dict[str, Any]:
    lost, members, shares = zip(*searches, strict=True)
    losers = sum(map(bool, lost))
    return {
        "searches_that_lose_pct": 100 * losers / len(searches),
        "interval_pct": [100 * end for end in proportion_interval(losers, len(searches))],
        "members_lost_pct": 100 * sum(lost) / sum(members),
        "epochs_pct": 100 * float(np.mean(shares)),
    }


def cases(options: argparse.Namespace) -> Iterator[tuple[str, str, int]]:
    """Rule, kind and number of candidates."""
    yield from product(RULES, KINDS, options.candidates)
    yield from product(SETTINGS if options.settings else (), KINDS, (40,))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", type=int, default=300)
    parser.add_argument("--candidates", type=int, nargs="+", default=[20, 40, 100])
    parser.add_argument("--settings", action="store_true", help="other settings of the rule too")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found: dict[str, Any] = {}
    with ProcessPoolExecutor(options.jobs) as pool:
        for rule, kind, count in cases(options):
            run = partial(one_search, kind=kind, count=count, rule=rule)
            found[f"{rule}, {kind}, {count}"] = one = row(
                list(pool.map(run, range(options.searches), chunksize=5))
            )
            show(rule, kind, count, one)
    if options.out:
        report = {"searches": options.searches, "epochs": EPOCHS, "noise_points": NOISES, "rows": found}
        write_atomically(options.out, json.dumps(report, indent=1) + "\n")


def show(rule: str, kind: str, count: int, one: dict[str, Any]) -> None:
    low, high = one["interval_pct"]
    print(
        f"{rule:<24}{kind:<24}{count:>4}  lose {one['searches_that_lose_pct']:5.1f} % ({low:.1f} to {high:.1f}), "
        f"members {one['members_lost_pct']:5.1f} %, epochs {one['epochs_pct']:5.1f} %",
        flush=True,
    )


if __name__ == "__main__":
    main()
