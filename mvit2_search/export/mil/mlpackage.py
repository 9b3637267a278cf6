"""A saved `.mlpackage`: where its parts are, what it says of itself, the hash of its content, and its weights."""

import hashlib
import logging
import struct
import warnings
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from mvit2_search.errors import MeasurementError, translated
from mvit2_search.export.runtimes import filtered_stderr
from mvit2_search.records import Artifact, InputKind, Precision

MODEL = Path("Data/com.apple.CoreML/model.mlmodel")
WEIGHTS = Path("Data/com.apple.CoreML/weights/weight.bin")

_PRECISIONS: dict[int, Precision] = {65552: "float16", 65568: "float32"}  # ArrayFeatureType.ArrayDataType
_TORCHAO = ("torchao", "KernelPreference")  # coremltools imports it where it is installed, and it complains


def require(holds: bool, otherwise: str) -> None:
    """Raises MeasurementError, which says `otherwise`, unless `holds`."""
    if not holds:
        raise MeasurementError(otherwise)


def naming(name: str) -> AbstractContextManager[None]:
    """Inside, the message of a MeasurementError begins with `name`."""
    return translated(name, (MeasurementError,))


def read_mlpackage(path: Path) -> Artifact:
    """What an ML Program of one input and one output says of itself; raises MeasurementError for all else."""
    with naming(path.name):
        spec = _spec(path)
        given, returned = spec.description.input, spec.description.output
        require(len(given) == len(returned) == 1, "expected a model of one input and one output")
        kind, input_shape, _ = _feature(given[0])
        _, output_shape, precision = _feature(returned[0])
        return Artifact(
            path=path,
            sha256=_content_hash(path, spec),
            format="mlpackage",
            precision=precision,
            input_name=given[0].name,
            input_shape=input_shape,
            output_shape=output_shape,
            convention=given[0].shortDescription,
            input_kind=kind,
        )


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
    with translated(f"{path.name} is damaged", (DecodeError,)):
        spec.ParseFromString(path.read_bytes())
    found = spec.WhichOneof("Type")
    require(found == "mlProgram", f"{path.name}: expected an ML Program, found {found}")
    return spec


def _spec(path: Path) -> Any:
    try:
        return parsed_spec(path / MODEL)
    except OSError as err:
        raise MeasurementError(f"is no Core ML package: {err.strerror}: {MODEL}") from err


def _content_hash(path: Path, spec: Any) -> str:
    """Of the program and the weights, without the date of the conversion, which `spec` loses."""
    spec.description.metadata.Clear()
    digest = hashlib.sha256(spec.SerializeToString(deterministic=True))
    try:
        if (path / WEIGHTS).exists():  # a program of few numbers has no file of them
            digest.update((path / WEIGHTS).read_bytes())
    except OSError as err:
        raise MeasurementError(f"its weights cannot be read: {err.strerror}") from err
    return digest.hexdigest()


def _feature(feature: Any) -> tuple[InputKind, tuple[int, ...], Precision]:
    """Kind, shape and precision of an input or output; an image's precision is that of the pixels' sums."""
    if feature.type.WhichOneof("Type") == "imageType":
        image = feature.type.imageType
        return "image", (1, 3, image.height, image.width), "float32"
    return "tensor", *array_type(feature)


def array_type(feature: Any) -> tuple[tuple[int, ...], Precision]:
    """Shape and precision of an input or output that is an array."""
    array = feature.type.multiArrayType
    require(array.dataType in _PRECISIONS, f"{feature.name} is no array of floating point numbers")
    return tuple(array.shape), _PRECISIONS[array.dataType]


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


_HEADER, _RECORD, _ALIGNMENT = struct.Struct("<II56x"), struct.Struct("<IIQQ40x"), 64
_SENTINEL, _VERSION = 0xDEADBEEF, 2
_TYPES = {1: ("float16", "<f2"), 2: ("float32", "<f4")}


class WeightFile:
    """The tensors of `weight.bin`, each by the place of its record. A program of few numbers has no file.

        file    uint32 number of tensors, uint32 version 2, 56 reserved bytes
        record  uint32 0xDEADBEEF, uint32 type, uint64 bytes, uint64 where they begin, 40 further bytes

    A file is its header, then for each tensor a record and its numbers. Everything is little-endian and begins at
    a multiple of 64. The layout is that of coremltools' `mlmodel/src/MILBlob/Blob/StorageFormat.hpp`.

    Reading raises MeasurementError where the file is damaged, or another, or lacks what is asked for.
    """

    def __init__(self, path: Path) -> None:
        self._data = path.read_bytes() if path.exists() else _HEADER.pack(0, _VERSION)
        require(len(self._data) >= _HEADER.size, f"weight.bin: {len(self._data)} bytes hold no header")
        self._count, version = _HEADER.unpack_from(self._data)
        require(version == _VERSION, f"weight.bin: version {version}, expected {_VERSION}")
        self._seen: set[int] = set()

    def read(self, place: int, dtype: str, name: str) -> np.ndarray:
        """The numbers of one tensor, flat."""
        with naming(f"weight.bin: {name}"):
            sentinel, code, size, begin = self._record(place)
            require(sentinel == _SENTINEL, f"no tensor at byte {place}: {sentinel:#x}")
            require(_TYPES.get(code, ("",))[0] == dtype, f"numbers of type {code}, expected {dtype}")
            end, all_bytes = begin + size, len(self._data)
            inside = begin % _ALIGNMENT == 0 and begin >= place + _RECORD.size and end <= all_bytes
            require(inside, f"bytes {begin} to {end} lie outside of the file's {all_bytes}")
            number = np.dtype(_TYPES[code][1])
            require(size % number.itemsize == 0, f"{size} bytes end within a number")
            return np.frombuffer(self._data, np.uint8, count=size, offset=begin).view(number)

    def _record(self, place: int) -> tuple[int, int, int, int]:
        inside = place % _ALIGNMENT == 0 and _HEADER.size <= place <= len(self._data) - _RECORD.size
        require(inside, f"byte {place} lies outside of the file, or between tensors")
        self._seen.add(place)
        require(len(self._seen) <= self._count, f"the file holds {self._count} tensors and more are used")
        sentinel, code, size, begin = _RECORD.unpack_from(self._data, place)
        return sentinel, code, size, begin
