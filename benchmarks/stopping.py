"""What stopping rules would have done to searches over trained curves: the fronts they keep, the epochs they save.

    python benchmarks/stopping.py --curves results/curves --replays 300 --out benchmarks/stopping.json

Replays only: nothing is trained or timed, two minutes on one core. A replay is a random order of the architectures
with one of the trained seeds for each; all rules see the same replays. Latencies are those of `latencies.json` in
the folder where it is there, else multiply-adds stand in for them. Printed for every rule, in percent:

- own front: replays in which nothing was stopped that is on the front when the same replay trains everything;
- true front: the same for the front of the accuracies averaged over the seeds;
- HV kept: hypervolume of the finished trainings, of that when everything is trained, the mean;
- within: replays whose hypervolume is in the 95 % interval of replays with other seeds that train everything; for
  `none` with a random seed for each that is 95 by construction;
- epochs: trained, of those that training everything takes; beside it those of the later half of the trials.

`before` is `dominance` without audit and widening and for networks of any size (`stopping_kinds.py` tries such a
rule on simulated kinds of curves); the rows at other confidences are of that rule. `oracle` knows every last
accuracy after one epoch and is held to five finished trainings as `before` is: no such rule that keeps each
front so far can train fewer epochs. `HV kept` counts accuracy above the 25th percentile of all last accuracies
and latency below the largest.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mvit2_search.analysis.pareto import front_mask, hypervolume
from mvit2_search.arch import ArchConfig
from mvit2_search.arch.cost import network_cost
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.stopping import StoppingRule, Verdict, make_stopping_rule
from mvit2_search.stopping.audit import best_rival, proportion_interval
from mvit2_search.stopping.bound import end_bound_pct
from mvit2_search.stopping.curves import Curve, Size
from mvit2_search.stopping.rules import Dominance, Halving
from mvit2_search.system.files import write_atomically

CLASSES = 10
COVERAGE_AT = (0.9, 0.99)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """All curves: percent after each epoch by architecture, seed and epoch; a cost by architecture."""

    keys: tuple[str, ...]
    pct_ASE: np.ndarray
    latency_A: np.ndarray
    sizes: tuple[Size, ...]
    latencies_are: str

    @property
    def reference(self) -> tuple[float, float]:
        return float(np.percentile(self.pct_ASE[..., -1], 25)), float(self.latency_A.max())


def read_trained(folder: Path) -> Trained:
    """The architectures of `folder` that have all seeds."""
    rows = [json.loads(path.read_text()) for path in sorted(folder.glob("*-*.json"))]
    seeds = sorted({row["seed"] for row in rows})
    by_key: dict[str, dict[int, Any]] = {}
    for row in rows:
        by_key.setdefault(ArchConfig.from_json(row["arch"]).key, {})[row["seed"]] = row
    whole = {key: of for key, of in by_key.items() if of.keys() == set(seeds)}
    curves = [[of[seed]["curve_pct"] for seed in seeds] for of in whole.values()]
    archs = [ArchConfig.from_json(of[seeds[0]]["arch"]) for of in whole.values()]
    if not whole:
        raise SystemExit(f"{folder} has no curves: python benchmarks/curves.py --out {folder}")
    if left_out := by_key.keys() - whole.keys():
        print(f"left out, as seeds are missing: {len(left_out)} of {len(by_key)} architectures")
    latencies, source = _latencies(folder / "latencies.json", archs)
    return Trained(
        keys=tuple(whole),
        pct_ASE=np.array(curves),
        latency_A=np.array(latencies),
        sizes=tuple(map(_size, archs)),
        latencies_are=source,
    )


def _size(arch: ArchConfig) -> Size:
    cost = network_cost(arch, ClassifierHead(CLASSES))
    return Size.of(arch, macs=cost.macs, params=cost.params)


def _latencies(path: Path, archs: Sequence[ArchConfig]) -> tuple[list[float], str]:
    if not path.is_file():
        return [
            float(network_cost(arch, ClassifierHead(CLASSES)).macs) for arch in archs
        ], "multiply-adds, not measured"
    found = json.loads(path.read_text())
    measured = [found["measurements"][arch.key]["latency_ms"] for arch in archs]
    return measured, f"measured in ms: {found['passport']['device']}, {found['passport']['chip']}"


class Oracle:
    """Knows where the candidate ends: `truth` is set by whoever replays."""

    stops_dominated = True

    def __init__(self, at_least: int = 5) -> None:
        self.at_least = at_least
        self.truth = 0.0

    def judge(self, candidate: Curve, past: Sequence[Curve], *, lot: float) -> Verdict | None:
        finished = [curve for curve in past if curve.finished]
        dominated = self.truth <= best_rival(candidate, finished)
        return Verdict() if len(finished) >= self.at_least and dominated else None

    def audit(self, past: Sequence[Curve]) -> None:
        return None


def unguarded(confidence: float) -> Dominance:
    """The bound alone, whatever the size of a network is and whatever an audit says."""
    return Dominance(confidence=confidence, most_missed=1, share=0, larger=0, slack=0)


RULES: dict[str, Callable[[], StoppingRule]] = {
    "none": lambda: make_stopping_rule("none"),
    "dominance": lambda: make_stopping_rule("dominance"),
    "before": lambda: unguarded(0.99),
    "before, at 95 %": lambda: unguarded(0.95),
    "before, at 80 %": lambda: unguarded(0.8),
    "before, at 50 %": lambda: unguarded(0.5),
    "halving": lambda: make_stopping_rule("halving"),
    "halving by 2": lambda: Halving(factor=2),
    "oracle": Oracle,
}


@dataclass(frozen=True, kw_only=True)
class Replay:
    """One search: which seed each architecture has, and how many epochs each was trained, in order of turn."""

    order_A: np.ndarray
    seeds_A: np.ndarray
    epochs_A: np.ndarray  # by architecture


def replay(
    trained: Trained, rule: StoppingRule, order_A: np.ndarray, seeds_A: np.ndarray, lots_A: np.ndarray
) -> Replay:
    past: list[Curve] = []
    epochs_A = np.zeros(len(order_A), int)
    for arch in order_A:
        curve, latency = trained.pct_ASE[arch, seeds_A[arch]].tolist(), float(trained.latency_A[arch])
        if isinstance(rule, Oracle):
            rule.truth = curve[-1]
        whole = Curve(scores=tuple(curve), latency_ms=latency, size=trained.sizes[arch], finished=True)
        past.append(followed(rule, past, whole, lot=float(lots_A[arch])))
        epochs_A[arch] = len(past[-1].scores)
    return Replay(order_A=order_A, seeds_A=seeds_A, epochs_A=epochs_A)


def followed(rule: StoppingRule, past: Sequence[Curve], whole: Curve, *, lot: float) -> Curve:
    """A training as far as the rule lets it go."""
    for epoch in range(1, len(whole.scores)):
        seen = replace(whole, scores=whole.scores[:epoch], finished=False)
        if verdict := rule.judge(seen, past, lot=lot):
            return seen if verdict.stops else whole
    return whole


def draw(trained: Trained, number: int, *, one_seed: bool, salt: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The order, the seeds and the lots of a replay; `one_seed` gives all the same seed, as a search does."""
    rng = np.random.default_rng([salt, number])
    count, seeds = trained.pct_ASE.shape[:2]
    order_A, seeds_A = rng.permutation(count), rng.integers(seeds, size=count)
    return order_A, np.full(count, seeds_A[0]) if one_seed else seeds_A, rng.random(count)


def volume(trained: Trained, one: Replay) -> float:
    """Hypervolume of what finished."""
    last_A = trained.pct_ASE[np.arange(len(one.seeds_A)), one.seeds_A, -1]
    done_A = one.epochs_A == trained.pct_ASE.shape[2]
    return hypervolume(last_A[done_A].tolist(), trained.latency_A[done_A].tolist(), reference=trained.reference)


def scored(trained: Trained, replays: list[Replay], whole: np.ndarray, interval: np.ndarray) -> dict[str, Any]:
    """A row of the table; see the head of this file. `whole` are the hypervolumes with everything trained."""
    latency, epochs = trained.latency_A.tolist(), trained.pct_ASE.shape[2]
    true_A = front_mask(trained.pct_ASE[..., -1].mean(1).tolist(), latency)
    own, true, late = [], [], []
    for one in replays:
        last_A = trained.pct_ASE[np.arange(len(latency)), one.seeds_A, -1]
        stopped_A = one.epochs_A < epochs
        own.append(not (front_mask(last_A.tolist(), latency) & stopped_A).any())
        true.append(not (true_A & stopped_A).any())
        late.append(one.epochs_A[one.order_A[len(latency) // 2 :]].mean() / epochs)
    volumes = np.array([volume(trained, one) for one in replays])
    return {
        "own_front_pct": 100 * float(np.mean(own)),
        "own_front_interval_pct": proportion_interval_pct(sum(own), len(own)),
        "true_front_pct": 100 * float(np.mean(true)),
        "true_front_interval_pct": proportion_interval_pct(sum(true), len(true)),
        "hypervolume_kept_pct": 100 * float(np.mean(volumes / whole)),
        "within_seed_interval_pct": 100 * float(np.mean((volumes >= interval[0]) & (volumes <= interval[1]))),
        "epochs_pct": 100 * float(np.mean([one.epochs_A.mean() / epochs for one in replays])),
        "late_epochs_pct": 100 * float(np.mean(late)),
    }


def proportion_interval_pct(hits: int, count: int) -> tuple[float, float]:
    """Clopper and Pearson's 95 % interval."""
    low, high = proportion_interval(hits, count)
    return 100 * low, 100 * high


def table(trained: Trained, count: int, *, one_seed: bool, salt: int) -> dict[str, dict[str, Any]]:
    """A row for every rule, over the same replays."""
    draws = [draw(trained, number, one_seed=one_seed, salt=salt) for number in range(count)]
    replays = {name: [replay(trained, make(), *drawn) for drawn in draws] for name, make in RULES.items()}
    others = [draw(trained, number, one_seed=False, salt=salt + 1) for number in range(10 * count)]
    never = make_stopping_rule("none")
    volumes = [volume(trained, replay(trained, never, *drawn)) for drawn in others]
    interval = np.percentile(volumes, [2.5, 97.5])
    whole = np.array([volume(trained, one) for one in replays["none"]])
    return {name: scored(trained, runs, whole, interval) for name, runs in replays.items()}


def coverage(trained: Trained) -> dict[str, Any]:
    """How often a curve left out ends above its bound, by confidence of one bound and epoch, in percent.

    From all others of its seed, as in a search, and from five of them at random, the fewest that a bound rests on.
    """
    rng = np.random.default_rng(0)
    count, seeds, epochs = trained.pct_ASE.shape
    found: dict[str, Any] = {}
    for confidence in COVERAGE_AT:
        for name, size in (("all others", count - 1), ("five others", min(5, count - 1))):
            above_E = np.zeros(epochs - 1)
            for seed in range(seeds):
                for arch in range(count):
                    others = np.delete(np.arange(count), arch)
                    chosen = trained.pct_ASE[rng.choice(others, size, replace=False), seed]
                    above_E += _above(trained.pct_ASE[arch, seed], chosen, confidence)
            found[f"{name}, {confidence:g}"] = np.round(100 * above_E / (count * seeds), 2).tolist()
    return found


def _above(curve_E: np.ndarray, chosen_NE: np.ndarray, confidence: float) -> list[bool]:
    """For every epoch but the last, whether the curve ends above the bound."""
    finished = chosen_NE.tolist()
    bounds = (end_bound_pct(curve_E[:e].tolist(), finished, confidence=confidence) for e in range(1, len(curve_E)))
    return [bool(curve_E[-1] > bound) for bound in bounds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, default=Path("results/curves"))
    parser.add_argument("--replays", type=int, default=300)
    parser.add_argument("--salt", type=int, default=0, help="another gives other orders and seeds")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    trained = read_trained(options.curves)
    tables = {
        "a random seed for each": table(trained, options.replays, one_seed=False, salt=options.salt),
        "one seed for all": table(trained, options.replays, one_seed=True, salt=options.salt),
    }
    report = {
        "architectures": len(trained.latency_A),
        "seeds": trained.pct_ASE.shape[1],
        "epochs": trained.pct_ASE.shape[2],
        "latencies": trained.latencies_are,
        "replays": options.replays,
        "salt": options.salt,
        "spread_points": spread(trained),
        "above_bound_pct": coverage(trained),
        "tables": tables,
    }
    show(report)
    if options.out:
        write_atomically(options.out, json.dumps(report, indent=1) + "\n")


def spread(trained: Trained) -> dict[str, Any]:
    """Standard deviations of last accuracies; Pearson correlations with those after each epoch, within a seed."""
    last_AS = trained.pct_ASE[..., -1]
    correlations = [
        [_correlation(trained.pct_ASE[:, s, e], last_AS[:, s]) for e in range(trained.pct_ASE.shape[2] - 1)]
        for s in range(last_AS.shape[1])
    ]
    return {
        "between_architectures": float(last_AS.mean(1).std(ddof=1)),
        "between_seeds": float(np.sqrt(last_AS.var(1, ddof=1).mean())),
        "correlation_after_epoch": np.round(np.mean(correlations, 0), 3).tolist(),
    }


def _correlation(x_A: np.ndarray, y_A: np.ndarray) -> float:
    return float(np.corrcoef(x_A, y_A)[0, 1]) if np.ptp(x_A) > 0 else 0.0


def show(report: dict[str, Any]) -> None:
    facts = ("architectures", "seeds", "epochs", "replays", "latencies", "spread_points", "above_bound_pct")
    for name in facts:
        print(f"{name}: {report[name]}")
    head = f"{'':<20}{'own front':>10}{'true front':>12}{'HV kept':>9}{'within':>8}{'epochs':>8}{'late':>7}"
    for title, rows in report["tables"].items():
        print(f"\n{title}\n{head}")
        for name, row in rows.items():
            print(
                f"{name:<20}{row['own_front_pct']:>10.1f}{row['true_front_pct']:>12.1f}"
                f"{row['hypervolume_kept_pct']:>9.1f}{row['within_seed_interval_pct']:>8.1f}"
                f"{row['epochs_pct']:>8.1f}{row['late_epochs_pct']:>7.1f}"
            )


if __name__ == "__main__":
    main()
