"""A device that says what a script tells it: for tests, and never for results.

It is not among `DEVICES`, so no study can be made with it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from mvit2_search.latency.protocol import PROTOCOL, TimingPlan
from mvit2_search.latency.turns import take_turns
from mvit2_search.records import Artifact, Passport, Samples


@dataclass(kw_only=True)
class ScriptedDevice:
    """`script(artifact, i)` is the latency in ms of the i-th forward pass since the device was made."""

    script: Callable[[Artifact, int], float]
    format: str = "onnx"
    chip: str = "scripted chip"
    passes: int = 0

    def check(self) -> None:
        """Always there."""

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
        return take_turns(lambda: self._pass(candidate), lambda: self._pass(reference), plan=plan, load_ms=0.0)

    def _pass(self, artifact: Artifact) -> float:
        self.passes += 1
        return self.script(artifact, self.passes - 1)
