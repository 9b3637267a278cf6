"""A device whose latencies come from a script: for tests of the protocol, never for results.

It is not in `DEVICES`, so no study can use it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from mvit2_search.measure.protocol import PROTOCOL, THIS_COMPUTER, TimingPlan
from mvit2_search.measure.visits import take_turns
from mvit2_search.records import Artifact, Passport, Samples


@dataclass(kw_only=True)
class ScriptedDevice:
    """`script(artifact, i)` is the latency in ms of the i-th forward pass since the device was made.

    Its clock moves with every pass, with every load and with `pause`; `weather` is a factor on every pass of
    an artifact, on the device as it then is.
    """

    script: Callable[[Artifact, int], float]
    weather: "Callable[[ScriptedDevice, Artifact], float]" = lambda device, artifact: 1.0
    format: str = "onnx"
    lease: str = THIS_COMPUTER
    chip: str = "scripted chip"
    load_s: float = 0.5
    passes: int = 0
    visits: int = 0
    copy: int = 0  # of the running pass
    seconds: float = 0.0  # on its clock
    idle_s: float = 0.0  # of them without passes

    def check(self) -> None:
        """Always there."""

    def pause(self, seconds: float) -> None:
        """Let its clock run, instead of waiting."""
        self.seconds += seconds
        self.idle_s += seconds

    def passport(self) -> Passport:
        return Passport(
            device="a script, not a device",
            chip=self.chip,
            system="none",
            runtime="none",
            compute_units="none",
            precision="none",
            batch=1,
            threads=0,
            protocol=PROTOCOL,
        )

    def time(self, candidate: Artifact, reference: Artifact, plan: TimingPlan) -> Samples:
        self.visits += 1
        self.pause(self.load_s)
        return take_turns(
            lambda: self.run(candidate, 0), lambda: self.run(reference, 1), plan=plan, load_ms=1e3 * self.load_s
        )

    def run(self, artifact: Artifact, copy: int = 0) -> float:
        """One pass; `copy` tells the two of a visit apart, which may be the same network."""
        self.passes += 1
        self.copy = copy
        milliseconds = self.script(artifact, self.passes - 1) * self.weather(self, artifact)
        self.seconds += milliseconds / 1e3
        return milliseconds
