"""Running two networks in turn, so that whatever slows the machine slows both."""

from collections.abc import Callable

from mvit2_search.latency.protocol import TimingPlan
from mvit2_search.records import Samples


def take_turns(
    candidate_ms: Callable[[], float], reference_ms: Callable[[], float], *, plan: TimingPlan, load_ms: float
) -> Samples:
    """One visit: warm both up, then pairs of bursts of `plan.unit` passes.

    Every timed burst follows an untimed pass of the same network. Without it, the reference takes 19 %
    longer beside a large candidate, which pushes it out of the processor's caches, than beside itself.
    """
    for _ in range(plan.warmup):
        candidate_ms()
        reference_ms()
    candidate: list[float] = []
    reference: list[float] = []
    for _ in range(plan.pairs_per_visit):
        for run, samples in ((candidate_ms, candidate), (reference_ms, reference)):
            run()
            samples.extend(run() for _ in range(plan.unit))
    return Samples(candidate_ms=tuple(candidate), reference_ms=tuple(reference), unit=plan.unit, load_ms=load_ms)
