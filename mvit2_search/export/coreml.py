"""Core ML packages: ML Programs in half precision for iOS 16 and later.

Converts anywhere; only macOS runs the result. Names and types are given explicitly: left out, they
depend on how the network was captured, and latencies would differ by a hidden conversion.
"""

import hashlib
import logging
import warnings
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mvit2_search.errors import MeasurementError, first_line
from mvit2_search.records import Artifact

_WEIGHTS = Path("Data/com.apple.CoreML/weights/weight.bin")


def export_coreml(model: nn.Module, path: Path, shape: tuple[int, ...], convention: str) -> Artifact:
    """Write `model` for one input of `shape`, in half precision: `image` in, `logits` out.

    Args:
        convention: of the input, in words that the package keeps.

    Raises:
        MeasurementError: coremltools refuses the network.
    """
    coremltools = _coremltools()
    with warnings.catch_warnings(action="ignore"), redirect_stderr(StringIO()):  # it draws progress bars
        try:
            package = coremltools.convert(
                torch.jit.trace(model, torch.zeros(shape)),  # type: ignore[no-untyped-call]
                convert_to="mlprogram",
                inputs=[coremltools.TensorType(name="image", shape=shape, dtype=np.float16)],
                outputs=[coremltools.TensorType(name="logits", dtype=np.float16)],
                minimum_deployment_target=coremltools.target.iOS16,
                compute_precision=coremltools.precision.FLOAT16,
                skip_model_load=True,
            )
        except (RuntimeError, TypeError, ValueError) as err:
            raise MeasurementError(f"Core ML conversion failed: {first_line(err)}") from err
        package.input_description["image"] = convention
        package.save(str(path))
    return Artifact(
        path=path,
        sha256=content_hash(path),
        format="mlpackage",
        precision="float16",
        input_name="image",
        input_shape=shape,
        output_shape=tuple(package.get_spec().description.output[0].type.multiArrayType.shape),
    )


def content_hash(path: Path) -> str:
    """Of the program and the weights of a package, without the date of its conversion."""
    spec = _coremltools().utils.load_spec(str(path))
    spec.description.metadata.Clear()
    digest = hashlib.sha256(spec.SerializeToString(deterministic=True))
    digest.update((path / _WEIGHTS).read_bytes())
    return digest.hexdigest()


def _coremltools() -> Any:
    """Imported without the lines it prints about the libraries that only macOS has."""
    logger = logging.getLogger("coremltools")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            import coremltools
    finally:
        logger.setLevel(level)
    return coremltools
