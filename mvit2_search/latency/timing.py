"""From samples to a measurement, the same way for every device."""

import math
from datetime import UTC, datetime

import numpy as np
from scipy.stats import quantile_test

from mvit2_search.errors import MeasurementError
from mvit2_search.latency.protocol import Device, TimingPlan
from mvit2_search.records import Artifact, Measurement, Samples

_OTHER_SPEED = 0.2  # a reference further than this from its first latency is flagged


def collect(device: Device, candidate: Artifact, reference: Artifact, plan: TimingPlan) -> Samples:
    """Visit until the paired median is settled, or `plan.max_visits` times.

    Raises:
        MeasurementError: the samples are no times.
    """
    samples = _checked(device.time(candidate, reference, plan))
    for _ in range(plan.max_visits - 1):
        if is_settled(samples, plan):
            break
        more = _checked(device.time(candidate, reference, plan))
        samples = Samples(
            candidate_ms=samples.candidate_ms + more.candidate_ms,
            reference_ms=samples.reference_ms + more.reference_ms,
            load_ms=samples.load_ms,
        )
    return samples


def is_settled(samples: Samples, plan: TimingPlan) -> bool:
    """Whether the interval of the paired median is within `plan.settled_pct` of it, both ways."""
    ratio, low, high = paired_ratio(samples)
    return max(high - ratio, ratio - low) <= plan.settled_pct / 100 * ratio


def paired_ratio(samples: Samples) -> tuple[float, float, float]:
    """Median of candidate over reference, pair by pair, and its distribution-free 95 % interval."""
    ratios = np.array(samples.candidate_ms) / np.array(samples.reference_ms)
    median = float(np.median(ratios))
    interval = quantile_test(ratios, q=median, p=0.5).confidence_interval(0.95)
    low, high = float(interval.low), float(interval.high)
    return (
        median,
        low if math.isfinite(low) else float(ratios.min()),
        high if math.isfinite(high) else float(ratios.max()),
    )


def to_measurement(
    samples: Samples, *, artifact: Artifact, passport: str, reference_ms: float, plan: TimingPlan
) -> Measurement:
    """The record of `samples`; `reference_ms` is what the reference took when first timed here."""
    ratio, low, high = paired_ratio(samples)
    p10, p90 = np.percentile(np.array(samples.candidate_ms) / np.array(samples.reference_ms), [10, 90])
    now = float(np.median(samples.reference_ms))
    flags = [] if is_settled(samples, plan) else ["unsettled"]
    if abs(now / reference_ms - 1) > _OTHER_SPEED:
        flags.append("slow" if now > reference_ms else "fast")
    return Measurement(
        artifact_sha256=artifact.sha256,
        passport=passport,
        latency_ms=ratio * reference_ms,
        low_ms=low * reference_ms,
        high_ms=high * reference_ms,
        p10_ms=float(p10) * reference_ms,
        p90_ms=float(p90) * reference_ms,
        pairs=len(samples.candidate_ms),
        reference_ms=reference_ms,
        reference_now_ms=now,
        load_ms=samples.load_ms,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        flags=tuple(flags),
    )


def _checked(samples: Samples) -> Samples:
    times = [*samples.candidate_ms, *samples.reference_ms]
    if len(samples.candidate_ms) != len(samples.reference_ms) or not samples.candidate_ms:
        raise MeasurementError("the device gave no pairs of times")
    if not all(math.isfinite(t) and t > 0 for t in times):
        raise MeasurementError(f"the device gave a time of {min(times)} ms")
    return samples
