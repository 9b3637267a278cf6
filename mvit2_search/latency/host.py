"""This machine's CPU, by ONNX Runtime on one thread."""

import importlib.util
from importlib.metadata import version
from time import perf_counter, sleep
from typing import Any

import numpy as np

from mvit2_search.errors import BackendUnavailable, MeasurementError, first_line
from mvit2_search.latency.inputs import random_input
from mvit2_search.latency.machine import passport_here
from mvit2_search.latency.protocol import TimingPlan
from mvit2_search.latency.turns import take_turns
from mvit2_search.records import Artifact, Passport, Samples


class HostDevice:
    """Single precision, batch 1, one thread that does not spin: two networks in turn do not disturb
    each other then."""

    format = "onnx"
    pause = staticmethod(sleep)

    def check(self) -> None:
        if importlib.util.find_spec("onnxruntime") is None:
            raise BackendUnavailable("host: ONNX Runtime is missing: pip install onnxruntime")

    def passport(self) -> Passport:
        return passport_here(
            device="ONNX Runtime on this computer's CPU",
            runtime=f"onnxruntime {version('onnxruntime')}",
            compute_units="CPU",
            precision="float32",
            threads=1,
        )

    def time(self, candidate: Artifact, reference: Artifact, plan: TimingPlan) -> Samples:
        start = perf_counter()
        session = _session(candidate)
        load_ms = 1e3 * (perf_counter() - start)
        other = _session(reference)
        inputs = [_inputs(one) for one in (candidate, reference)]
        return take_turns(
            lambda: _pass_ms(session, inputs[0]), lambda: _pass_ms(other, inputs[1]), plan=plan, load_ms=load_ms
        )


def _inputs(artifact: Artifact) -> dict[str, np.ndarray]:
    return {artifact.input_name: random_input(shape=artifact.input_shape, precision=artifact.precision)}


def _session(artifact: Artifact) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(artifact.path, options, providers=["CPUExecutionProvider"])
    except Exception as err:  # its exceptions have no common class of their own
        raise MeasurementError(f"{artifact.path.name}: ONNX Runtime cannot load it: {first_line(err)}") from err


def _pass_ms(session: Any, inputs: dict[str, np.ndarray]) -> float:
    start = perf_counter()
    try:
        session.run(None, inputs)
    except Exception as err:
        raise MeasurementError(f"ONNX Runtime cannot run the network: {first_line(err)}") from err
    return 1e3 * (perf_counter() - start)
