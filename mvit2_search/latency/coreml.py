"""A Mac, by Core ML. Everything that decides anything is in `timing` and `turns`, which run anywhere."""

import platform
from importlib.metadata import version
from time import sleep
from typing import Any

import numpy as np

from mvit2_search.errors import BackendUnavailable, MeasurementError
from mvit2_search.latency.machine import chip, system
from mvit2_search.latency.protocol import PROTOCOL, TimingPlan
from mvit2_search.latency.turns import take_turns
from mvit2_search.records import Artifact, Passport, Samples


class CoreMLDevice:
    """Half precision, batch 1, on the compute units that `units` allows."""

    format = "mlpackage"
    pause = staticmethod(sleep)

    def __init__(self, units: str) -> None:
        self._units = units

    def check(self) -> None:
        if platform.system() != "Darwin":
            raise BackendUnavailable(
                "coreml: Core ML runs models only on macOS; use --device host here, which times ONNX Runtime"
            )

    def passport(self) -> Passport:
        return Passport(
            device="Core ML on this Mac",
            chip=chip(),
            system=system(),
            runtime=f"coremltools {version('coremltools')}",
            compute_units="ALL",
            precision="float16",
            batch=1,
            threads=0,
            protocol=PROTOCOL,
        )

    def time(self, candidate: Artifact, reference: Artifact, plan: TimingPlan) -> Samples:
        self.check()
        model, other = _load(candidate), _load(reference)
        load_ms = (model.load_duration_in_nano_seconds or 0) / 1e6
        inputs = [{a.input_name: np.zeros(a.input_shape, np.float16)} for a in (candidate, reference)]
        return take_turns(
            lambda: _pass_ms(model, inputs[0]), lambda: _pass_ms(other, inputs[1]), plan=plan, load_ms=load_ms
        )


def _load(artifact: Artifact) -> Any:
    import coremltools

    try:
        return coremltools.models.MLModel(str(artifact.path), compute_units=coremltools.ComputeUnit.ALL)
    except Exception as err:  # compilation raises RuntimeError or NSError's stand-ins
        raise MeasurementError(f"{artifact.path.name}: Core ML cannot load it: {err}") from err


def _pass_ms(model: Any, inputs: dict[str, np.ndarray]) -> float:
    """One prediction as Core ML itself times it, the conversion of the inputs left out."""
    try:
        model.predict(inputs)
    except RuntimeError as err:
        raise MeasurementError(f"Core ML cannot run the network: {err}") from err
    nanoseconds = model.last_predict_duration_in_nano_seconds
    if nanoseconds is None:
        raise MeasurementError("Core ML gave no duration for the prediction")
    return float(nanoseconds) / 1e6
