"""What a saved `.mlpackage` computes, as plain data: the operators of its ML Program in order, and its constants.

Only the classes of the protocol buffer are coremltools'. Everything that they refer to is looked up, and compared
with what is declared, here.

`weight.bin` of a Core ML package: a header, then for each tensor a record of 64 bytes and its numbers.

    file    uint32 number of tensors, uint32 version 2, 56 reserved bytes
    record  uint32 0xDEADBEEF, uint32 type, uint64 bytes, uint64 where they begin, 40 further bytes

Everything is little-endian and begins at a multiple of 64. The layout is that of coremltools'
`mlmodel/src/MILBlob/Blob/StorageFormat.hpp`.
"""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mvit2_search.errors import MeasurementError, first_line
from mvit2_search.export.mil.mlpackage import MODEL, WEIGHTS, parsed_spec

_HEADER, _RECORD, _ALIGNMENT = struct.Struct("<II56x"), struct.Struct("<IIQQ40x"), 64
_SENTINEL, _VERSION = 0xDEADBEEF, 2
_TYPES = {1: ("float16", "<f2"), 2: ("float32", "<f4")}


class WeightFile:
    """The tensors of a weight file, each by the place of its record. A program of few numbers has no file.

    Raises:
        MeasurementError: the header is damaged, or is that of another file.
    """

    def __init__(self, path: Path) -> None:
        self._data = path.read_bytes() if path.exists() else _HEADER.pack(0, _VERSION)
        if len(self._data) < _HEADER.size:
            raise MeasurementError(f"weight.bin: {len(self._data)} bytes hold no header")
        self._count, version = _HEADER.unpack_from(self._data)
        if version != _VERSION:
            raise MeasurementError(f"weight.bin: version {version}, expected {_VERSION}")
        self._seen: set[int] = set()

    def read(self, place: int, dtype: str, name: str) -> np.ndarray:
        """The numbers of one tensor, flat.

        Raises:
            MeasurementError: there is no such tensor at `place`, or it reaches out of the file.
        """
        sentinel, code, size, begin = self._record(place, name)
        if sentinel != _SENTINEL:
            raise MeasurementError(f"weight.bin: {name}: no tensor at byte {place}: {sentinel:#x}")
        if _TYPES.get(code, ("",))[0] != dtype:
            raise MeasurementError(f"weight.bin: {name}: numbers of type {code}, expected {dtype}")
        if begin % _ALIGNMENT or begin < place + _RECORD.size or begin + size > len(self._data):
            raise MeasurementError(
                f"weight.bin: {name}: bytes {begin} to {begin + size} lie outside of the file's {len(self._data)}"
            )
        numbers = np.frombuffer(self._data, np.uint8, count=size, offset=begin)
        if size % np.dtype(_TYPES[code][1]).itemsize:
            raise MeasurementError(f"weight.bin: {name}: {size} bytes end within a number")
        return numbers.view(_TYPES[code][1])

    def _record(self, place: int, name: str) -> tuple[int, int, int, int]:
        if place % _ALIGNMENT or not _HEADER.size <= place <= len(self._data) - _RECORD.size:
            raise MeasurementError(
                f"weight.bin: {name}: byte {place} lies outside of the file, or between tensors"
            )
        self._seen.add(place)
        if len(self._seen) > self._count:
            raise MeasurementError(f"weight.bin: the file holds {self._count} tensors and more are used")
        sentinel, code, size, begin = _RECORD.unpack_from(self._data, place)
        return sentinel, code, size, begin


DType = Literal["float16", "float32", "int32", "uint32", "bool", "string"]
# MIL.proto's DataType
_DTYPES: dict[int, DType] = {1: "bool", 2: "string", 10: "float16", 11: "float32", 23: "int32", 33: "uint32"}
_KEPT_AS: dict[DType, str] = {
    "float32": "floats",
    "int32": "ints",
    "bool": "bools",
    "string": "strings",
    "float16": "bytes",
    "uint32": "bytes",
}
_OPSETS = {7: "CoreML6", 8: "CoreML7", 9: "CoreML8", 10: "CoreML9"}  # by version of the specification
_ARRAYS: dict[int, DType] = {65552: "float16", 65568: "float32"}  # ArrayFeatureType.ArrayDataType
_IMAGES = {20: "RGB", 30: "BGR"}  # ImageFeatureType.ColorSpace


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorType:
    dtype: DType
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Constant:
    """A value that stands in the file."""

    type: TensorType
    array: np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One operator. Its inputs are names of earlier results or constants, several where it takes a list."""

    kind: str
    name: str  # of its result
    inputs: dict[str, tuple[str | Constant, ...]]
    outputs: tuple[tuple[str, TensorType], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """One function of one input and one output.

    Attributes:
        image: order of the channels, where Core ML hands over an image: values from 0 to 255 then.
        convention: of the input, in the words of whoever made the package.
    """

    input_name: str
    input_type: TensorType
    image: str | None
    convention: str
    constants: dict[str, Constant]
    operations: tuple[Operation, ...]
    output_name: str
    output_type: TensorType


def read_program(path: Path) -> Program:
    """The program of the package at `path`.

    Raises:
        MeasurementError: the package is damaged or holds something else; the message says what.
    """
    try:
        model, weights = _files(path)
        return _program(_parsed(model), WeightFile(weights))
    except OSError as err:
        raise MeasurementError(f"{path.name}: cannot be read: {err.strerror}: {err.filename}") from err
    except MeasurementError as err:
        raise MeasurementError(f"{path.name}: {err}") from err


def _files(path: Path) -> tuple[Path, Path]:
    """The specification and the weights, found by the manifest as Core ML finds them."""
    try:
        manifest = json.loads((path / "Manifest.json").read_text())
        items = manifest["itemInfoEntries"]
        model = path / "Data" / items[manifest["rootModelIdentifier"]]["path"]
        folders = [path / "Data" / item["path"] for item in items.values() if item["path"].endswith("/weights")]
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise MeasurementError(f"Manifest.json is damaged: {type(err).__name__}: {first_line(err)}") from err
    if len(folders) != 1:
        raise MeasurementError(f"Manifest.json names {len(folders)} folders of weights, expected 1")
    found = model, folders[0] / "weight.bin"
    if found != (path / MODEL, path / WEIGHTS):  # what the content hash is of
        raise MeasurementError(f"Manifest.json names {model} and {folders[0]}, expected those of coremltools")
    return found


def _parsed(path: Path) -> Any:
    spec = parsed_spec(path)
    if spec.specificationVersion not in _OPSETS:
        raise MeasurementError(f"version {spec.specificationVersion} of the specification is none known here")
    return spec


def _program(spec: Any, weights: WeightFile) -> Program:
    function = _function(spec)
    (given,), (returned,) = _one(spec.description.input, "input"), _one(spec.description.output, "output")
    (parameter,) = _one(function.inputs, "parameter")
    input_type, block = _type(parameter.type), function.block_specializations[function.opset]
    image = _image(given, input_type) if given.type.WhichOneof("Type") == "imageType" else None
    _plain(spec.description, given, returned)
    if image is None:
        _agree(given, parameter.name, input_type)
    elif given.name != parameter.name:
        raise MeasurementError(f"the interface says {given.name}, the program {parameter.name}")
    constants, operations = _operations(block, weights)
    (output_name,) = _one(block.outputs, "result")
    types = {name: kind for operation in operations for name, kind in operation.outputs}
    if output_name not in types:
        raise MeasurementError(f"the result {output_name} is computed nowhere")
    _agree(returned, output_name, types[output_name])
    return Program(
        input_name=parameter.name,
        input_type=input_type,
        image=image,
        convention=given.shortDescription,
        constants=constants,
        operations=operations,
        output_name=output_name,
        output_type=types[output_name],
    )


def _function(spec: Any) -> Any:
    program, opset = spec.mlProgram, _OPSETS[spec.specificationVersion]
    if list(program.functions) != ["main"]:
        raise MeasurementError(f"expected one function called main, found {sorted(program.functions)}")
    function = program.functions["main"]
    if function.opset != opset or list(function.block_specializations) != [opset]:
        raise MeasurementError(f"expected operators of {opset}, found {function.opset}")
    return function


def _plain(description: Any, *features: Any) -> None:
    """What no export of ours has, and no interpreter of ours heeds: several functions, states, flexible shapes."""
    if description.functions or description.defaultFunctionName or description.state:
        raise MeasurementError("several functions or states are not known here")
    for feature in features:
        kind = getattr(feature.type, feature.type.WhichOneof("Type"))
        flexible = [name for name in ("ShapeFlexibility", "SizeFlexibility") if name in _oneofs(kind)]
        if feature.type.isOptional or any(kind.WhichOneof(name) for name in flexible):
            raise MeasurementError(f"{feature.name}: optional values and flexible shapes are not known here")


def _oneofs(message: Any) -> set[str]:
    return {one.name for one in message.DESCRIPTOR.oneofs}


def _one(items: Any, what: str) -> list[Any]:
    found = list(items)
    if len(found) != 1:
        raise MeasurementError(f"expected one {what}, found {len(found)}")
    return found


def _image(feature: Any, parameter: TensorType) -> str:
    image = feature.type.imageType
    if image.colorSpace not in _IMAGES:
        raise MeasurementError(f"the image's colour space {image.colorSpace} is neither RGB nor BGR")
    expected = TensorType(dtype="float32", shape=(1, 3, image.height, image.width))
    if parameter != expected:
        raise MeasurementError(f"the image is {expected} and the program takes {parameter}")
    return _IMAGES[image.colorSpace]


def _agree(feature: Any, name: str, found: TensorType) -> None:
    """The interface and the program must mean the same tensor."""
    array = feature.type.multiArrayType
    if array.dataType not in _ARRAYS:
        raise MeasurementError(f"{feature.name} is no array of floating point numbers")
    declared = TensorType(dtype=_ARRAYS[array.dataType], shape=tuple(array.shape) or found.shape)
    if (feature.name, declared) != (name, found):
        raise MeasurementError(f"the interface says {feature.name}: {declared}, the program {name}: {found}")


def _operations(block: Any, weights: WeightFile) -> tuple[dict[str, Constant], tuple[Operation, ...]]:
    constants, operations = {}, []
    for raw in block.operations:
        outputs = tuple((out.name, _type(out.type)) for out in raw.outputs)
        if not outputs or raw.blocks:
            raise MeasurementError(f"{raw.type}: an operator without a result, or with blocks, is not known here")
        if raw.type == "const":
            if outputs[0][0] in constants:
                raise MeasurementError(f"there are two constants called {outputs[0][0]}")
            constants[outputs[0][0]] = _constant(outputs[0], raw, weights)
            continue
        inputs = {name: tuple(_binding(b, weights) for b in arg.arguments) for name, arg in raw.inputs.items()}
        operations.append(Operation(kind=raw.type, name=outputs[0][0], inputs=inputs, outputs=outputs))
    return constants, tuple(operations)


def _constant(output: tuple[str, TensorType], raw: Any, weights: WeightFile) -> Constant:
    name, declared = output
    if "val" not in raw.attributes:
        raise MeasurementError(f"the constant {name} has no value")
    value = _value(name, raw.attributes["val"], weights)
    if value.type != declared:
        raise MeasurementError(f"the constant {name} is declared {declared} and is {value.type}")
    return value


def _binding(binding: Any, weights: WeightFile) -> str | Constant:
    if binding.WhichOneof("binding") == "name":
        return str(binding.name)
    return _value("a value", binding.value, weights)


def _type(value: Any) -> TensorType:
    if value.WhichOneof("type") != "tensorType":
        raise MeasurementError(f"a value of type {value.WhichOneof('type')} is not known here")
    tensor = value.tensorType
    if tensor.dataType not in _DTYPES:
        raise MeasurementError(f"numbers of type {tensor.dataType} are not known here")
    if any(dimension.WhichOneof("dimension") != "constant" for dimension in tensor.dimensions):
        raise MeasurementError("a shape that is not fixed is not known here")
    shape = tuple(int(dimension.constant.size) for dimension in tensor.dimensions)
    if tensor.rank != len(shape):
        raise MeasurementError(f"a tensor of rank {tensor.rank} has {len(shape)} dimensions")
    return TensorType(dtype=_DTYPES[tensor.dataType], shape=shape)


def _value(name: str, value: Any, weights: WeightFile) -> Constant:
    kind = _type(value.type)
    if value.WhichOneof("value") == "blobFileValue":
        blob = value.blobFileValue
        if blob.fileName != "@model_path/weights/weight.bin":
            raise MeasurementError(f"{name} is kept in {blob.fileName}")
        flat = weights.read(int(blob.offset), kind.dtype, name)
    else:
        flat = _immediate(name, value.immediateValue, kind.dtype)
    if flat.size != int(np.prod(kind.shape)):
        raise MeasurementError(f"{name} is declared {kind} and has {flat.size} values")
    return Constant(type=kind, array=flat.reshape(kind.shape))


def _immediate(name: str, value: Any, dtype: DType) -> np.ndarray:
    """Numbers that stand in the specification itself."""
    found = value.tensor.WhichOneof("value") if value.WhichOneof("value") == "tensor" else None
    if found != _KEPT_AS[dtype]:
        raise MeasurementError(f"{name} is declared {dtype} and is kept as {found}")
    held = getattr(value.tensor, found).values
    if found != "bytes":
        return np.array(list(held), dtype=object if dtype == "string" else dtype)
    number = np.dtype(dtype).newbyteorder("<")
    if len(held) % number.itemsize:
        raise MeasurementError(f"{name} ends within a number")
    return np.frombuffer(held, number)
