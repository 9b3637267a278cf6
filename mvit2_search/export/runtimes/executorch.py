"""ExecuTorch programs, run by its own runtime on one thread."""

import hashlib
import importlib.util
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from mvit2_search.errors import BackendUnavailable, MeasurementError, translated
from mvit2_search.export.runtimes import filtered_stderr
from mvit2_search.records import Artifact

CONVENTION = "input_convention"  # the method that returns it

_FLOAT32 = 6  # ScalarType in a program's metadata
NOTES = ("cpuinfo_utils.cpp", "Resetting threadpool", "torchao", "KernelPreference")


class Network:
    """A program of one input and one output, loaded.

    Raises:
        BackendUnavailable: ExecuTorch is not installed.
        MeasurementError: the file cannot be loaded, or is no such program.
    """

    def __init__(self, path: Path) -> None:
        runtime = _runtime()
        cannot_load = translated(f"{path.name}: ExecuTorch cannot load it", (RuntimeError, KeyError))
        with cannot_load, filtered_stderr(*NOTES):
            program = runtime.load_program(path)
            self._method = program.load_method("forward")
            self.convention = str(program.load_method(CONVENTION).execute([])[0])
        self._program, meta = program, self._method.metadata  # the method does not keep its program alive
        if (meta.num_inputs(), meta.num_outputs()) != (1, 1):
            raise MeasurementError(f"{path.name}: a network has one input and one output")
        given, returned = meta.input_tensor_meta(0), meta.output_tensor_meta(0)
        if not given.dtype() == returned.dtype() == _FLOAT32:
            raise MeasurementError(f"{path.name}: only single precision is read")
        self.input_shape, self.output_shape = tuple(given.sizes()), tuple(returned.sizes())

    def run(self, x_BCHW: np.ndarray) -> np.ndarray:
        """What the network returns for one input; raises MeasurementError where it does not take it."""
        import torch  # the runtime takes torch's tensors, and imports it too

        with translated("ExecuTorch cannot run the network", (RuntimeError, TypeError)):
            output: torch.Tensor = self._method.execute([torch.from_numpy(x_BCHW)])[0]
        logits_BK: np.ndarray = output.numpy()
        return logits_BK


def check_installed() -> None:
    """Raises BackendUnavailable where ExecuTorch is not installed."""
    if importlib.util.find_spec("executorch") is None:
        raise BackendUnavailable("executorch: ExecuTorch is missing: pip install 'mvit2-search[executorch]'")


def describe(path: Path) -> Artifact:
    """What the program in `path` is, as the file says. Raises like `Network`."""
    network = Network(path)
    return Artifact(
        path=path,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        format="pte",
        precision="float32",
        input_name="image",  # the format has no names
        input_shape=network.input_shape,
        output_shape=network.output_shape,
        convention=network.convention,
    )


def _runtime() -> Any:
    """The runtime, with one thread: changing their number later would break programs already loaded."""
    check_installed()
    with filtered_stderr(*NOTES), warnings.catch_warnings(action="ignore"):
        from executorch.extension.pybindings import portable_lib
        from executorch.runtime import Runtime

        if portable_lib._threadpool_get_thread_count() != 1:
            portable_lib._unsafe_reset_threadpool(1)
    return Runtime.get()
