"""The one seam every latency passes through."""

from dataclasses import dataclass
from typing import Protocol

from mvit2_search.records import Artifact, Passport, Samples


@dataclass(frozen=True, kw_only=True, slots=True)
class TimingPlan:
    """How often to run what. One visit loads both networks, warms up and takes `pairs_per_visit`."""

    warmup: int = 3
    pairs_per_visit: int = 20
    max_visits: int = 5
    settled_pct: float = 2.0  # stop when the interval of the paired median is within this, both ways


class Device(Protocol):
    """Something that runs an artifact and says how long each forward pass took.

    Implementations promise:

    - Construction is cheap and imports nothing heavy; `check` is where a missing tool shows.
    - `time` knows artifacts, never architectures, and needs no torch.
    - `time` raises `MeasurementError` rather than return a doubtful number, and may be called again.
    - Everything else that a latency depends on stands in the passport.
    """

    format: str  # of the artifacts it runs, a key of `export.FORMATS`

    def check(self) -> None:
        """Return if this device can be used from here.

        Raises:
            BackendUnavailable: with what would help.
        """

    def passport(self) -> Passport:
        """What latencies of this device hold for; after `check`."""

    def time(self, candidate: Artifact, reference: Artifact, plan: TimingPlan) -> Samples:
        """Milliseconds of single forward passes, candidate and reference in turn.

        Raises:
            BackendUnavailable: the device went away.
            MeasurementError: an artifact does not load or run.
        """
