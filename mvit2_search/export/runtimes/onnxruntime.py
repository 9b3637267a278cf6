"""ONNX Runtime, imported here and nowhere else: it reports to its vendor unless it is told not to before.

The import alone looks up the vendor's server and writes an identifier below the home folder (1.32.0).
"""

import os
from pathlib import Path
from typing import Any

from mvit2_search.errors import BackendUnavailable, translated


def load_network(path: Path, *, one_thread: bool = False) -> Any:
    """An `InferenceSession` on this computer's CPU, by default with as many threads as cores; one does not spin.

    Raises:
        BackendUnavailable: ONNX Runtime is not installed.
        MeasurementError: it cannot load the file.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError as err:
        raise BackendUnavailable("ONNX Runtime is missing: pip install onnxruntime") from err
    options = onnxruntime.SessionOptions()
    if one_thread:
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with translated(f"{path.name}: ONNX Runtime cannot load it"):  # by its content: a path must be UTF-8
        return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
