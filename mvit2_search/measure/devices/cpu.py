"""This computer's CPU on one thread, by ONNX Runtime and by ExecuTorch."""

import importlib.util
from collections.abc import Callable

import numpy as np

from mvit2_search.errors import BackendUnavailable, MeasurementError, first_line
from mvit2_search.export.runtimes import executorch, onnxruntime
from mvit2_search.measure.devices.machine import LocalDevice
from mvit2_search.measure.protocol import TimingPlan
from mvit2_search.measure.visits import time_in_turn
from mvit2_search.records import Artifact, Samples


class HostDevice(LocalDevice):
    """One thread that does not spin: else two networks in turn disturb each other."""

    format = "onnx"
    words = "ONNX Runtime on this computer's CPU"
    package = "onnxruntime"

    def check(self) -> None:
        if importlib.util.find_spec("onnxruntime") is None:
            raise BackendUnavailable(f"{self.name}: ONNX Runtime is missing: pip install onnxruntime")

    def time(self, candidate: Artifact, reference: Artifact, plan: TimingPlan) -> Samples:
        return time_in_turn(_session, candidate, reference, plan)


def _session(artifact: Artifact) -> Callable[[np.ndarray], None]:
    session = onnxruntime.load_network(artifact.path, one_thread=True)

    def run(x_BCHW: np.ndarray) -> None:
        try:
            session.run(None, {artifact.input_name: x_BCHW})
        except Exception as err:
            raise MeasurementError(f"ONNX Runtime cannot run the network: {first_line(err)}") from err

    return run


class ExecuTorchDevice(LocalDevice):
    """With XNNPACK: the kernels that Android phones run."""

    format = "pte"
    words = "ExecuTorch with XNNPACK on this computer's CPU"
    package = "executorch"

    def check(self) -> None:
        executorch.check_installed()

    def time(self, candidate: Artifact, reference: Artifact, plan: TimingPlan) -> Samples:
        return time_in_turn(lambda artifact: executorch.Network(artifact.path).run, candidate, reference, plan)
