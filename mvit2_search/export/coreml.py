"""Core ML packages: ML Programs for iOS 16 and later.

Converts anywhere; only macOS runs the result, and `export.mil` reads and checks it elsewhere. Names and
types are given explicitly: left out, they depend on how the network was captured, and latencies would
differ by a hidden conversion.
"""

import hashlib
import logging
import warnings
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn

from mvit2_search.errors import MeasurementError, SpecError, first_line
from mvit2_search.records import Artifact, CoreMLOptions, InputKind, Precision
from mvit2_search.system.stderr import filtered_stderr

MODEL = Path("Data/com.apple.CoreML/model.mlmodel")
WEIGHTS = Path("Data/com.apple.CoreML/weights/weight.bin")

ORDERS = ("RGB", "BGR")  # of the channels, by coremltools' names

_DEFAULTS = CoreMLOptions()
_DTYPES: dict[Precision, type] = {"float16": np.float16, "float32": np.float32}


def export_coreml(
    model: nn.Module,
    path: Path,
    shape: tuple[int, ...],
    convention: str,
    options: CoreMLOptions = _DEFAULTS,
) -> Artifact:
    """Write `model` for one input of `shape`: `image` in, `logits` out.

    Args:
        convention: of the input, in words that the package keeps. Those of an image begin with its
            order of the channels, RGB or BGR.

    Raises:
        MeasurementError: coremltools refuses the network.
        SpecError: the input is no image and is to be one.
    """
    coremltools = import_coremltools()
    given = _input(coremltools, shape, convention, options)
    with (
        warnings.catch_warnings(action="ignore"),
        redirect_stderr(StringIO()),  # it draws progress bars
        TemporaryDirectory(dir=path.parent, prefix="convert-") as own,  # it would leave a package until exit
    ):
        try:
            package = coremltools.convert(
                torch.jit.trace(model, torch.zeros(shape)),  # type: ignore[no-untyped-call]
                convert_to="mlprogram",
                inputs=[given],
                outputs=[coremltools.TensorType(name="logits", dtype=_DTYPES[options.precision])],
                minimum_deployment_target=getattr(coremltools.target, options.target),
                compute_precision=getattr(coremltools.precision, options.precision.upper()),
                package_dir=f"{own}/made.mlpackage",
                skip_model_load=True,
            )
        except Exception as err:  # whatever its passes raise
            raise MeasurementError(f"Core ML conversion failed: {first_line(err)}") from err
        package.input_description["image"] = convention
        package.save(str(path))
    return read_mlpackage(path)


def read_mlpackage(path: Path) -> Artifact:
    """What a package says of itself.

    Raises:
        MeasurementError: it is no ML Program of one input and one output, or damaged.
    """
    description = _spec(path).description
    if (len(description.input), len(description.output)) != (1, 1):
        raise MeasurementError(f"{path.name}: expected a model of one input and one output")
    (given,), (returned,) = description.input, description.output
    kind, shape, _ = _feature(path, given)
    _, output_shape, precision = _feature(path, returned)
    return Artifact(
        path=path,
        sha256=content_hash(path),
        format="mlpackage",
        precision=precision,
        input_name=given.name,
        input_shape=shape,
        output_shape=output_shape,
        convention=given.shortDescription,
        input_kind=kind,
    )


def content_hash(path: Path) -> str:
    """Of the program and the weights of a package, without the date of its conversion."""
    spec = _spec(path)
    spec.description.metadata.Clear()
    digest = hashlib.sha256(spec.SerializeToString(deterministic=True))
    try:
        if (path / WEIGHTS).exists():  # a program of few numbers has no file of them
            digest.update((path / WEIGHTS).read_bytes())
    except OSError as err:
        raise MeasurementError(f"{path.name}: its weights cannot be read: {err.strerror}") from err
    return digest.hexdigest()


_TORCHAO = ("torchao", "KernelPreference")  # coremltools imports it where it is installed, and it complains


def import_coremltools() -> Any:
    """coremltools without the lines it prints about the libraries that only macOS has."""
    logger = logging.getLogger("coremltools")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"), filtered_stderr(*_TORCHAO):
            import coremltools
    finally:
        logger.setLevel(level)
    return coremltools


def _input(coremltools: Any, shape: tuple[int, ...], convention: str, options: CoreMLOptions) -> Any:
    if options.input_kind == "tensor":
        return coremltools.TensorType(name="image", shape=shape, dtype=_DTYPES[options.precision])
    order = convention[:3]
    if order not in ORDERS or len(shape) != 4 or shape[:2] != (1, 3):
        raise SpecError(f"an input of shape {shape}, {convention}, is no image")
    layout = getattr(coremltools.colorlayout, order)
    return coremltools.ImageType(name="image", shape=shape, scale=1 / 255, color_layout=layout)


def parsed_spec(path: Path) -> Any:
    """The protocol buffer of a `.mlmodel` file, as saved.

    Raises:
        MeasurementError: the file is damaged, or holds no ML Program.
        OSError: it cannot be read.
    """
    import_coremltools()
    from coremltools.proto import Model_pb2
    from google.protobuf.message import DecodeError

    spec = Model_pb2.Model()
    try:
        spec.ParseFromString(path.read_bytes())
    except DecodeError as err:
        raise MeasurementError(f"{path.name} is damaged: {first_line(err)}") from err
    if spec.WhichOneof("Type") != "mlProgram":
        raise MeasurementError(f"{path.name}: expected an ML Program, found {spec.WhichOneof('Type')}")
    return spec


def _spec(path: Path) -> Any:
    try:
        return parsed_spec(path / MODEL)
    except OSError as err:
        raise MeasurementError(f"{path.name}: is no Core ML package: {err.strerror}: {MODEL}") from err
    except MeasurementError as err:
        raise MeasurementError(f"{path.name}: {err}") from err


def _feature(path: Path, feature: Any) -> tuple[InputKind, tuple[int, ...], Precision]:
    """Kind, shape and precision of an input or output; an image's precision is that of the pixels' sums."""
    if feature.type.WhichOneof("Type") == "imageType":
        image = feature.type.imageType
        return "image", (1, 3, image.height, image.width), "float32"
    array = feature.type.multiArrayType
    names: dict[int, Precision] = {65552: "float16", 65568: "float32"}  # ArrayFeatureType.ArrayDataType
    if array.dataType not in names:
        raise MeasurementError(f"{path.name}: {feature.name} is no array of floating point numbers")
    return "tensor", tuple(array.shape), names[array.dataType]
