"""The one seam every latency passes through."""

from dataclasses import dataclass
from typing import Protocol

from mvit2_search.records import Artifact, Passport, Samples

PROTOCOL = 2  # stands in passports: latencies of different protocols are never compared
THIS_COMPUTER = "timing"  # the lease of every device that runs on this computer


@dataclass(frozen=True, kw_only=True, slots=True)
class TimingPlan:
    """How often to run what. One visit loads both networks, warms up and takes `pairs_per_visit`.

    A pair is a burst of `unit` passes of the candidate and one of the reference, next to each other.
    """

    warmup: int = 3
    unit: int = 1
    pairs_per_visit: int = 10
    min_visits: int = 2
    max_visits: int = 6
    pause_s: float = 1.0  # between visits
    settled_pct: float = 2.0  # stop when the interval of the paired median is within this, both ways


class Device(Protocol):
    """Something that runs an artifact and says how long each forward pass took.

    Implementations promise:

    - Construction is cheap and imports nothing heavy; `check` is where a missing tool shows.
    - `time` knows artifacts, never architectures, and needs no torch.
    - `time` raises `MeasurementError` rather than return a doubtful number, and may be called again.
    - Everything else that a latency depends on stands in the passport.
    """

    format: str  # of the artifacts it runs, a key of `export.formats.FORMATS`
    lease: str  # held while it times: devices that disturb each other name the same one

    def pause(self, seconds: float, /) -> None:
        """Leave it alone for so long."""

    def check(self) -> None:
        """Return if this device can be used from here.

        Raises:
            BackendUnavailable: with what would help.
        """

    def passport(self) -> Passport:
        """What latencies of this device hold for; after `check`."""

    def time(self, candidate: Artifact, reference: Artifact, plan: TimingPlan) -> Samples:
        """One visit: milliseconds of single forward passes, candidate and reference in turn.

        Raises:
            BackendUnavailable: the device went away.
            MeasurementError: an artifact does not load or run.
        """
