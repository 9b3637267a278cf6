"""A saved `.mlpackage`: where its parts are, what it says of itself, and the hash of its content."""

import hashlib
import logging
import warnings
from pathlib import Path
from typing import Any

from mvit2_search.errors import MeasurementError, first_line
from mvit2_search.records import Artifact, InputKind, Precision
from mvit2_search.system.process import filtered_stderr

MODEL = Path("Data/com.apple.CoreML/model.mlmodel")
WEIGHTS = Path("Data/com.apple.CoreML/weights/weight.bin")

_TORCHAO = ("torchao", "KernelPreference")  # coremltools imports it where it is installed, and it complains


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
