"""This machine's CPU, by ONNX Runtime on one thread."""

import importlib.util
from importlib.metadata import version
from time import perf_counter, sleep
from typing import Any

import numpy as np

from mvit2_search.errors import BackendUnavailable, MeasurementError, first_line
from mvit2_search.export.runtimes.onnxruntime import load_network
from mvit2_search.measure.devices.machine import passport_here
from mvit2_search.measure.devices.registry import DeviceAddress
from mvit2_search.measure.protocol import THIS_COMPUTER, TimingPlan
from mvit2_search.measure.visits import random_input, take_turns
from mvit2_search.records import Artifact, Passport, Samples


class HostDevice:
    """Single precision, batch 1, one thread that does not spin: else two networks in turn disturb each other."""

    format = "onnx"
    lease = THIS_COMPUTER
    pause = staticmethod(sleep)

    def __init__(self, address: DeviceAddress) -> None:
        self.address = address

    def check(self) -> None:
        if importlib.util.find_spec("onnxruntime") is None:
            raise BackendUnavailable(f"{self.address}: ONNX Runtime is missing: pip install onnxruntime")

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
        session = load_network(candidate.path, one_thread=True)
        load_ms = 1e3 * (perf_counter() - start)
        other = load_network(reference.path, one_thread=True)
        inputs = [_inputs(one) for one in (candidate, reference)]
        return take_turns(
            lambda: _pass_ms(session, inputs[0]), lambda: _pass_ms(other, inputs[1]), plan=plan, load_ms=load_ms
        )


def _inputs(artifact: Artifact) -> dict[str, np.ndarray]:
    return {artifact.input_name: random_input(shape=artifact.input_shape, precision=artifact.precision)}


def _pass_ms(session: Any, inputs: dict[str, np.ndarray]) -> float:
    start = perf_counter()
    try:
        session.run(None, inputs)
    except Exception as err:
        raise MeasurementError(f"ONNX Runtime cannot run the network: {first_line(err)}") from err
    return 1e3 * (perf_counter() - start)
