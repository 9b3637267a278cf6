"""What benchmarks measure: latencies by the protocol of the searches, kept beside theirs."""

from collections.abc import Callable
from dataclasses import dataclass

from mvit2_search.arch import ArchConfig
from mvit2_search.complexity import Cost, network_cost
from mvit2_search.errors import MeasurementError
from mvit2_search.latency import Tell
from mvit2_search.records import Failed, Measurement
from mvit2_search.timer import Timer

CLASSES = 1000  # of the published networks

Timing = Measurement | Failed


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkTiming:
    """A whole network: what it costs by formula, and what came of timing it."""

    name: str
    cost: Cost
    timing: Timing


def time_network(timer: Timer, name: str, arch: ArchConfig, tell: Tell) -> NetworkTiming:
    """Time `arch`, and tell what came of it in one line."""
    timing = told(name, lambda: timer.measure(arch), tell)
    return NetworkTiming(name=name, cost=network_cost(arch, CLASSES), timing=timing)


def told(name: str, measure: Callable[[], Measurement], tell: Tell) -> Timing:
    """What `measure` gives, or why it failed; the others are to be timed all the same."""
    try:
        timing = measure()
    except MeasurementError as err:
        tell(f"{name}: {err}")
        return Failed(reason="measurement", message=str(err))
    tell(f"{name}: {timing}")
    return timing
