"""One visit to a device, whose samples are times."""

import math

from mvit2_search.errors import MeasurementError
from mvit2_search.latency.protocol import Device, TimingPlan
from mvit2_search.records import Artifact, Samples


def visit(device: Device, candidate: Artifact, reference: Artifact, plan: TimingPlan) -> Samples:
    """One visit whose samples are times.

    Raises:
        MeasurementError: they are none, or not in pairs.
    """
    samples = device.time(candidate, reference, plan)
    times = [*samples.candidate_ms, *samples.reference_ms]
    if len(samples.candidate_ms) != len(samples.reference_ms) or not samples.candidate_ms:
        raise MeasurementError("the device gave no pairs of times")
    if len(samples.candidate_ms) % samples.unit:
        raise MeasurementError(f"the device gave no whole bursts of {samples.unit} passes")
    if not all(math.isfinite(t) and t > 0 for t in times):
        raise MeasurementError(f"the device gave a time of {min(times)} ms")
    return samples
