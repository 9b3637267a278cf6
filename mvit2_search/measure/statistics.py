"""What the samples of visits say: ratios, the machine's speed, and whether it held still."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from mvit2_search.measure.protocol import TimingPlan
from mvit2_search.records import Samples
from mvit2_search.records.artifact import UNKNOWN, Scatter

_OTHER_SPEED = 0.15  # a reference further than this from its known latency runs at another speed
_DRIFT, _DRIFT_P = 0.05, 0.01  # a reference that moves by so much in one visit, and not by chance


@dataclass(frozen=True, kw_only=True, slots=True)
class Ratio:
    """Candidate over reference: the median of all pairs and its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def half_width_pct(self) -> float:
        """The larger distance from the value to an end of the interval."""
        return 100 * max(self.high - self.value, self.value - self.low) / self.value


def paired_ratio(visits: Sequence[Samples], known: Scatter = UNKNOWN) -> Ratio:
    """The ratio over all pairs of all visits.

    The interval is the wider, at each end, of two: the distribution-free one of the median of all pairs, and
    Student's of the visits' own medians. A network may be a percent faster in one visit than in another, which
    no number of pairs in one visit tells, and two visits hardly: so what is `known` of the device's visits is
    pooled with the scatter of these.
    """
    from scipy.stats import quantile_test  # takes half a second to import

    by_visit = [pair_ratios(visit) for visit in visits]
    ratios = np.concatenate(by_visit)
    value = float(np.median(ratios))
    interval = quantile_test(ratios, q=value, p=0.5).confidence_interval(0.95)
    low = float(interval.low if math.isfinite(interval.low) else ratios.min())
    high = float(interval.high if math.isfinite(interval.high) else ratios.max())
    between = value * _half_width([float(np.median(one)) for one in by_visit], known)
    return Ratio(value=value, low=min(low, value - between), high=max(high, value + between))


def _half_width(medians: list[float], known: Scatter) -> float:
    """Of the relative 95 % interval of the mean of visits' medians, by the pooled variance."""
    own = Scatter.of(medians) if len(medians) > 1 else UNKNOWN
    freedom = own.freedom + known.freedom
    if not freedom:
        return 0.0
    variance = (own.freedom * own.variance + known.freedom * known.variance) / freedom
    return float(stdtrit(freedom, 0.975)) * math.sqrt(variance / len(medians))


def pair_ratios(visit: Samples) -> np.ndarray:
    """Candidate over reference, one per pair of bursts: medians of bursts of more than one pass."""
    ratios: np.ndarray = _bursts(visit.candidate_ms, visit.unit) / _bursts(visit.reference_ms, visit.unit)
    return ratios


def reference_ms(*visits: Samples) -> float:
    """The median of all the reference's passes."""
    return float(np.median(np.concatenate([visit.reference_ms for visit in visits])))


def speed(now_ms: float, known_ms: float) -> str:
    """`slow` or `fast` where a reference that takes `now_ms` is far from the `known_ms`, else nothing."""
    if now_ms > (1 + _OTHER_SPEED) * known_ms:
        return "slow"
    return "fast" if now_ms < (1 - _OTHER_SPEED) * known_ms else ""


def drifts(visit: Samples) -> bool:
    """Whether the reference became slower or faster in the course of the visit, beyond chance."""
    from scipy.stats import kendalltau

    bursts = _bursts(visit.reference_ms, visit.unit)
    third = max(1, len(bursts) // 3)
    change = np.median(bursts[-third:]) / np.median(bursts[:third]) - 1
    return bool(abs(change) > _DRIFT and kendalltau(range(len(bursts)), bursts).pvalue < _DRIFT_P)


def is_steady(visit: Samples, known_ms: float) -> bool:
    """Whether the machine ran at its known speed and kept it."""
    return not speed(reference_ms(visit), known_ms) and not drifts(visit)


def counted(visits: Sequence[Samples], plan: TimingPlan, known_ms: float) -> list[Samples]:
    """The visits that a measurement rests on: the steady ones.

    Where there are too few, those at the speed that most had; the flags then say so.
    """
    steady = [visit for visit in visits if is_steady(visit, known_ms)]
    if len(steady) >= plan.min_visits:
        return steady
    usual = float(np.median([reference_ms(visit) for visit in visits]))
    return [visit for visit in visits if not speed(reference_ms(visit), usual)] or list(visits)


def flags(used: Sequence[Samples], plan: TimingPlan, known_ms: float, known: Scatter = UNKNOWN) -> tuple[str, ...]:
    """What is wrong with the visits that a measurement rests on."""
    found = {speed(reference_ms(visit), known_ms) for visit in used} - {""}
    if any(drifts(visit) for visit in used):
        found.add("drift")
    if not is_settled(used, plan, known):
        found.add("unsettled")
    return tuple(sorted(found))


def is_settled(used: Sequence[Samples], plan: TimingPlan, known: Scatter = UNKNOWN) -> bool:
    """Whether there are visits enough and the interval is within `plan.settled_pct`, both ways."""
    return len(used) >= plan.min_visits and paired_ratio(used, known).half_width_pct <= plan.settled_pct


def _bursts(times_ms: tuple[float, ...], unit: int) -> np.ndarray:
    medians: np.ndarray = np.median(np.reshape(times_ms, (-1, unit)), axis=1)
    return medians
