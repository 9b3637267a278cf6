"""ONNX files, in single precision, by torch's older exporter, two seconds where the newer one takes ten."""

import hashlib
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from torch import nn

from mvit2_search.errors import MeasurementError, translated
from mvit2_search.export.formats import Format
from mvit2_search.export.runtimes.onnxruntime import load_network
from mvit2_search.records import Artifact


def export_onnx(model: nn.Module, path: Path, shape: tuple[int, ...], convention: str) -> Artifact:
    """The `export` of `ONNX`."""
    with (
        warnings.catch_warnings(action="ignore"),  # it is deprecated, and says so in four ways
        translated("ONNX export failed", (RuntimeError, torch.onnx.errors.OnnxExporterError)),
    ):
        torch.onnx.export(
            model,
            (torch.zeros(shape),),
            path,
            dynamo=False,
            input_names=["image"],
            output_names=["logits"],
            opset_version=17,
        )
    written = onnx.load(path)
    written.graph.input[0].doc_string = convention
    onnx.save(written, path)
    return read_onnx(path)


def read_onnx(path: Path) -> Artifact:
    """The `read` of `ONNX`: of networks of one input and one output in single precision."""
    kinds = DecodeError, OSError, onnx.checker.ValidationError
    with translated(f"{path.name} is no ONNX file, or damaged", kinds):
        graph = onnx.load(path, load_external_data=False).graph
    if (len(graph.input), len(graph.output)) != (1, 1):
        raise MeasurementError(f"{path.name}: expected a network of one input and one output")
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in graph.initializer):
        raise MeasurementError(
            f"{path.name}: its weights are in another file; save it as one, by `onnx.save(onnx.load(path), path)`"
        )
    (given,), (returned,) = graph.input, graph.output
    if {f.type.tensor_type.elem_type for f in (given, returned)} != {onnx.TensorProto.FLOAT}:
        raise MeasurementError(f"{path.name}: expected input and output in single precision")
    return Artifact(
        path=path,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        format="onnx",
        precision="float32",
        input_name=given.name,
        input_shape=_shape(given),
        output_shape=_shape(returned),
        convention=given.doc_string,
    )


def run_onnx(artifact: Artifact, inputs_NCHW: np.ndarray) -> np.ndarray:
    """The `run` of `ONNX`, by ONNX Runtime."""
    session, samples = load_network(artifact.path), inputs_NCHW.astype(np.float32)
    with translated(f"{artifact.path.name}: ONNX Runtime cannot run it"):
        outputs = [session.run(None, {artifact.input_name: sample[None]})[0] for sample in samples]
    return np.concatenate(outputs)


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(int(dimension.dim_value) for dimension in value.type.tensor_type.shape.dim)


ONNX = Format(export=export_onnx, read=read_onnx, run=run_onnx)
