"""ONNX files, by torch's TorchScript-based exporter: two seconds where the newer one takes ten."""

import hashlib
import warnings
from pathlib import Path

import onnx
import torch
from torch import nn

from mvit2_search.errors import MeasurementError, first_line
from mvit2_search.records import Artifact

_OPSET = 17


def export_onnx(model: nn.Module, path: Path, shape: tuple[int, ...], convention: str) -> Artifact:
    """Write `model` for one input of `shape`, in single precision: `image` in, `logits` out.

    Args:
        convention: of the input, in words that the file keeps.

    Raises:
        MeasurementError: the exporter refuses the network.
    """
    with warnings.catch_warnings(action="ignore"):  # it is deprecated, and says so in four ways
        try:
            torch.onnx.export(
                model,
                (torch.zeros(shape),),
                path,
                dynamo=False,
                input_names=["image"],
                output_names=["logits"],
                opset_version=_OPSET,
            )
        except (RuntimeError, torch.onnx.errors.OnnxExporterError) as err:
            raise MeasurementError(f"ONNX export failed: {first_line(err)}") from err
    written = onnx.load(path)
    written.graph.input[0].doc_string = convention
    onnx.save(written, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Artifact(
        path=path,
        sha256=digest,
        format="onnx",
        precision="float32",
        input_name="image",
        input_shape=shape,
        output_shape=tuple(d.dim_value for d in written.graph.output[0].type.tensor_type.shape.dim),
    )
