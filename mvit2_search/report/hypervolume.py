"""How far the front has come with every trained architecture: the search's, and that of random draws."""

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
    """Hypervolumes of the controls after 1, 2, ... of them, over random orders."""

    controls: int
    low: tuple[float, ...]
    median: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Hypervolumes of the first `networks` candidates and of as many controls.

    Attributes:
        low, high: 95 % of the differences that chance alone gives, when the networks of both are dealt out anew:
            if the search were no better than random draws, its difference would be one of them.
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
    """None where no published width or no candidate is trained yet."""
    reference = _reference(summary)
    candidates = [t for t in summary.trials if t.is_trained_candidate]
    if reference is None or not candidates:
        return None
    search = [_point(trial) for trial in candidates]
    published = {t.number for t in summary.trials if t.published}  # credited to neither
    drawn = [t for t in summary.controls if t.repeats not in published]
    controls = [_point(trial) for trial in drawn if isinstance(trial.outcome, Finished)]
    return HypervolumeTable(
        reference=reference,
        search=tuple(hypervolume_curve(*zip(*search, strict=True), reference=reference)),
        band=_band(controls, reference) if controls else None,
        comparison=_comparison(search, controls, reference) if controls else None,
    )


def _reference(summary: Summary) -> tuple[float, float] | None:
    """Ten points below the smallest published width that was trained, and the budget.

    Widths are trained before any candidate, so this moves only where a smaller one has failed and succeeds at a
    later start. Less accurate networks are of no use to anybody; with guessing as the reference, the fastest of
    them would decide the hypervolume.
    """
    found = [t for t in summary.all_trials if t.published and isinstance(t.outcome, Finished)]
    smallest = min(found, key=lambda t: t.params, default=None)
    if smallest is None or not isinstance(smallest.outcome, Finished):
        return None
    guessing = 100 / len(summary.inputs.data.classes)
    return max(guessing, smallest.outcome.score - _MARGIN_PCT), summary.limits.latency_ms


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

    def volumes(points: np.ndarray) -> tuple[float, float]:
        first, second = (hypervolume(*half.T, reference=reference) for half in np.split(points, 2))
        return first, second

    rng = np.random.default_rng(0)
    dealt = np.array([volumes(rng.permutation(pool)) for _ in range(_SPLITS)])
    low, high = np.quantile(dealt[:, 0] - dealt[:, 1], [0.025, 0.975]).tolist()
    found, control = volumes(pool)
    return Comparison(networks=networks, search=found, control=control, low=low, high=high)
