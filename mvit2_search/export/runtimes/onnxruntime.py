"""ONNX Runtime, imported here and nowhere else: it reports to its vendor unless it is told not to before."""

import os
from pathlib import Path
from typing import Any

from mvit2_search.errors import BackendUnavailable, MeasurementError, first_line


def load_network(path: Path, *, one_thread: bool = False) -> Any:
    """An `InferenceSession` of the file on this computer's CPU.

    Args:
        one_thread: that does not spin either; by default as many as there are cores.

    Raises:
        BackendUnavailable: ONNX Runtime is not installed.
        MeasurementError: it cannot load the file.
    """
    onnxruntime = _imported()
    options = onnxruntime.SessionOptions()
    if one_thread:
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:  # by its content: a path that is no UTF-8 is refused
        return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as err:  # its exceptions have no common class of their own
        raise MeasurementError(f"{path.name}: ONNX Runtime cannot load it: {first_line(err)}") from err


def _imported() -> Any:
    """The import alone looks up the vendor's server and writes an identifier below the home folder (1.32.0)."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError as err:
        raise BackendUnavailable("ONNX Runtime is missing: pip install onnxruntime") from err
    return onnxruntime
