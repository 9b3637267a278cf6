"""The hypervolume of the front after every trained network: the search's, and that of random networks."""

from dataclasses import dataclass

import numpy as np

from mvit2_search.analysis.pareto import hypervolume, hypervolume_curve
from mvit2_search.records import Finished, Trial
from mvit2_search.report.tables import Summary

_MARGIN_PCT = 10.0
_ORDERS, _SPLITS = 200, 2_000
_NOWHERE = (-np.inf, np.inf)  # accuracy and latency of what adds nothing to any front

Points = list[tuple[float, float]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Band:
    """Hypervolumes of the random networks after 1, 2, ... of them: 5 %, 50 % and 95 % of their orders."""

    controls: int
    low: tuple[float, ...]
    median: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Hypervolumes of the first `networks` candidates and of as many random networks.

    Attributes:
        low, high: 95 % of the differences that chance alone gives, by a permutation test: the networks of both
            are dealt out at random, again and again.
    """

    networks: int
    search: float
    control: float
    low: float
    high: float

    @property
    def distinguishable(self) -> bool:
        return not self.low <= self.search - self.control <= self.high


@dataclass(frozen=True, kw_only=True, slots=True)
class HypervolumeTable:
    """Hypervolumes in accuracy points times ms.

    Attributes:
        reference: accuracy in percent and latency in ms.
        search: after 1, 2, ... trained candidates; stopped ones count as trained.
    """

    reference: tuple[float, float]
    search: tuple[float, ...]
    band: Band | None
    comparison: Comparison | None


def hypervolume_table(summary: Summary) -> HypervolumeTable | None:
    """None before a published width and a candidate are trained."""
    reference = _reference(summary)
    search = [_point(t) for t in summary.trials if t.is_trained_candidate]
    if reference is None or not search:
        return None
    published = {t.number for t in summary.trials if t.published}  # credited to neither side
    finished = [t for t in summary.controls if isinstance(t.outcome, Finished) and t.repeats not in published]
    controls = [_point(trial) for trial in finished]
    return HypervolumeTable(
        reference=reference,
        search=tuple(hypervolume_curve(*zip(*search, strict=True), reference=reference)),
        band=_band(controls, reference) if controls else None,
        comparison=_comparison(search, controls, reference) if controls else None,
    )


def _reference(summary: Summary) -> tuple[float, float] | None:
    """Ten points below the smallest published width that was trained, or chance level; and the budget.

    Nobody wants less accurate networks. With chance level as the reference, the fastest of them would decide the
    hypervolume.
    """
    widths = {
        t.params: t.outcome.score for t in summary.all_trials if t.published and isinstance(t.outcome, Finished)
    }
    if not widths:
        return None
    chance = 100 / len(summary.inputs.data.classes)
    return max(chance, widths[min(widths)] - _MARGIN_PCT), summary.limits.latency_ms


def _point(trial: Trial) -> tuple[float, float]:
    finished = trial.outcome
    return (finished.score, finished.latency.latency_ms) if isinstance(finished, Finished) else _NOWHERE


def _band(controls: Points, reference: tuple[float, float]) -> Band:
    rng = np.random.default_rng(0)
    points = np.array(controls)
    curves = [hypervolume_curve(*rng.permutation(points).T, reference=reference) for _ in range(_ORDERS)]
    low, median, high = np.quantile(curves, [0.05, 0.5, 0.95], axis=0).tolist()
    return Band(controls=len(controls), low=tuple(low), median=tuple(median), high=tuple(high))


def _comparison(search: Points, controls: Points, reference: tuple[float, float]) -> Comparison:
    networks = min(len(search), len(controls))
    pool = np.array(search[:networks] + controls[:networks])

    def volumes(points: np.ndarray) -> list[float]:
        return [hypervolume(*half.T, reference=reference) for half in np.split(points, 2)]

    rng = np.random.default_rng(0)
    dealt = np.array([volumes(rng.permutation(pool)) for _ in range(_SPLITS)])
    low, high = np.quantile(dealt[:, 0] - dealt[:, 1], [0.025, 0.975]).tolist()
    found, control = volumes(pool)
    return Comparison(networks=networks, search=found, control=control, low=low, high=high)
