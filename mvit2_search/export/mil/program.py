"""What a saved `.mlpackage` computes, as plain data: the operators of its ML Program in order, and its constants.

Only the classes of the protocol buffer are coremltools'. Everything that they refer to is looked up, and compared
with what is declared, here.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mvit2_search.errors import MeasurementError, first_line
from mvit2_search.export.mil.mlpackage import (
    MODEL,
    WEIGHTS,
    WeightFile,
    array_type,
    naming,
    parsed_spec,
    require,
)

DType = Literal["float16", "float32", "int32", "uint32", "bool", "string"]
# MIL.proto's DataType; below, the fields in which values of these types are kept, those of others are in `bytes`
_DTYPES: dict[int, DType] = {1: "bool", 2: "string", 10: "float16", 11: "float32", 23: "int32", 33: "uint32"}
_KEPT_AS: dict[DType, str] = {"float32": "floats", "int32": "ints", "bool": "bools", "string": "strings"}
_OPSETS = {7: "CoreML6", 8: "CoreML7", 9: "CoreML8", 10: "CoreML9"}  # by version of the specification
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
    """One function of one input and one output."""

    input_name: str
    input_type: TensorType
    image: str | None  # order of the channels, where Core ML hands over an image: values from 0 to 255 then
    convention: str  # of the input, in the words of whoever made the package
    constants: dict[str, Constant]
    operations: tuple[Operation, ...]
    output_name: str


def read_program(path: Path) -> Program:
    """The program of the package at `path`; raises MeasurementError where that is damaged or something else."""
    with naming(path.name):
        try:
            model, weights = _files(path)
            return _program(parsed_spec(model), WeightFile(weights))
        except OSError as err:
            raise MeasurementError(f"cannot be read: {err.strerror}: {err.filename}") from err


def _files(path: Path) -> tuple[Path, Path]:
    """The specification and the weights, found by the manifest as Core ML finds them."""
    try:
        manifest = json.loads((path / "Manifest.json").read_text())
        items = manifest["itemInfoEntries"]
        model = path / "Data" / items[manifest["rootModelIdentifier"]]["path"]
        folders = [path / "Data" / item["path"] for item in items.values() if item["path"].endswith("/weights")]
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise MeasurementError(f"Manifest.json is damaged: {type(err).__name__}: {first_line(err)}") from err
    require(len(folders) == 1, f"Manifest.json names {len(folders)} folders of weights, expected 1")
    found = model, folders[0] / "weight.bin"
    ours = found == (path / MODEL, path / WEIGHTS)  # what the content hash is of
    require(ours, f"Manifest.json names {model} and {folders[0]}, expected those of coremltools")
    return found


def _program(spec: Any, weights: WeightFile) -> Program:
    function = _function(spec)
    given, returned = _one(spec.description.input, "input"), _one(spec.description.output, "output")
    parameter, block = _one(function.inputs, "parameter"), function.block_specializations[function.opset]
    input_type = _type(parameter.type)
    _plain(spec.description, given, returned)
    image = _image(given, parameter.name, input_type)
    if image is None:
        _agree(given, parameter.name, input_type)
    constants, operations = _operations(block, weights)
    output_name = _one(block.outputs, "result")
    types = {name: kind for operation in operations for name, kind in operation.outputs}
    require(output_name in types, f"the result {output_name} is computed nowhere")
    _agree(returned, output_name, types[output_name])
    return Program(
        input_name=parameter.name,
        input_type=input_type,
        image=image,
        convention=given.shortDescription,
        constants=constants,
        operations=operations,
        output_name=output_name,
    )


def _function(spec: Any) -> Any:
    version, functions = spec.specificationVersion, spec.mlProgram.functions
    require(version in _OPSETS, f"version {version} of the specification is none known here")
    require(list(functions) == ["main"], f"expected one function called main, found {sorted(functions)}")
    function, opset = functions["main"], _OPSETS[version]
    is_of_it = function.opset == opset and list(function.block_specializations) == [opset]
    require(is_of_it, f"expected operators of {opset}, found {function.opset}")
    return function


def _plain(description: Any, *features: Any) -> None:
    """What no export of ours has, and no interpreter of ours heeds: several functions, states, flexible shapes."""
    several = description.functions or description.defaultFunctionName or description.state
    require(not several, "several functions or states are not known here")
    for feature in features:
        kind = getattr(feature.type, feature.type.WhichOneof("Type"))
        choices = {one.name for one in kind.DESCRIPTOR.oneofs} & {"ShapeFlexibility", "SizeFlexibility"}
        is_plain = not feature.type.isOptional and not any(map(kind.WhichOneof, choices))
        require(is_plain, f"{feature.name}: optional values and flexible shapes are not known here")


def _one(items: Any, what: str) -> Any:
    require(len(items) == 1, f"expected one {what}, found {len(items)}")
    return items[0]


def _image(feature: Any, name: str, parameter: TensorType) -> str | None:
    """The order of the channels, where the program takes an image."""
    if feature.type.WhichOneof("Type") != "imageType":
        return None
    image = feature.type.imageType
    require(image.colorSpace in _IMAGES, f"the image's colour space {image.colorSpace} is neither RGB nor BGR")
    expected = TensorType(dtype="float32", shape=(1, 3, image.height, image.width))
    require(parameter == expected, f"the image is {expected} and the program takes {parameter}")
    require(feature.name == name, f"the interface says {feature.name}, the program {name}")
    return _IMAGES[image.colorSpace]


def _agree(feature: Any, name: str, found: TensorType) -> None:
    """The interface and the program must mean the same tensor."""
    shape, dtype = array_type(feature)
    declared = TensorType(dtype=dtype, shape=shape or found.shape)
    is_same = (feature.name, declared) == (name, found)
    require(is_same, f"the interface says {feature.name}: {declared}, the program {name}: {found}")


def _operations(block: Any, weights: WeightFile) -> tuple[dict[str, Constant], tuple[Operation, ...]]:
    constants: dict[str, Constant] = {}
    operations = []
    for raw in block.operations:
        is_known = raw.outputs and not raw.blocks
        require(is_known, f"{raw.type}: an operator without a result, or with blocks, is not known here")
        outputs = tuple((out.name, _type(out.type)) for out in raw.outputs)
        name = outputs[0][0]
        if raw.type == "const":
            require(name not in constants, f"there are two constants called {name}")
            constants[name] = _constant(*outputs[0], raw, weights)
            continue
        inputs = {key: tuple(_binding(b, weights) for b in arg.arguments) for key, arg in raw.inputs.items()}
        operations.append(Operation(kind=raw.type, name=name, inputs=inputs, outputs=outputs))
    return constants, tuple(operations)


def _constant(name: str, declared: TensorType, raw: Any, weights: WeightFile) -> Constant:
    require("val" in raw.attributes, f"the constant {name} has no value")
    value = _value(name, raw.attributes["val"], weights)
    require(value.type == declared, f"the constant {name} is declared {declared} and is {value.type}")
    return value


def _binding(binding: Any, weights: WeightFile) -> str | Constant:
    if binding.WhichOneof("binding") == "name":
        return str(binding.name)
    return _value("a value", binding.value, weights)


def _type(value: Any) -> TensorType:
    kind, tensor = value.WhichOneof("type"), value.tensorType
    require(kind == "tensorType", f"a value of type {kind} is not known here")
    require(tensor.dataType in _DTYPES, f"numbers of type {tensor.dataType} are not known here")
    is_fixed = all(dimension.WhichOneof("dimension") == "constant" for dimension in tensor.dimensions)
    require(is_fixed, "a shape that is not fixed is not known here")
    shape = tuple(int(dimension.constant.size) for dimension in tensor.dimensions)
    require(tensor.rank == len(shape), f"a tensor of rank {tensor.rank} has {len(shape)} dimensions")
    return TensorType(dtype=_DTYPES[tensor.dataType], shape=shape)


def _value(name: str, value: Any, weights: WeightFile) -> Constant:
    kind = _type(value.type)
    if value.WhichOneof("value") == "blobFileValue":
        blob = value.blobFileValue
        require(blob.fileName == "@model_path/weights/weight.bin", f"{name} is kept in {blob.fileName}")
        flat = weights.read(int(blob.offset), kind.dtype, name)
    else:
        flat = _immediate(name, value.immediateValue, kind.dtype)
    require(flat.size == int(np.prod(kind.shape)), f"{name} is declared {kind} and has {flat.size} values")
    return Constant(type=kind, array=flat.reshape(kind.shape))


def _immediate(name: str, value: Any, dtype: DType) -> np.ndarray:
    """Numbers that stand in the specification itself."""
    found = value.tensor.WhichOneof("value") if value.WhichOneof("value") == "tensor" else None
    require(found == _KEPT_AS.get(dtype, "bytes"), f"{name} is declared {dtype} and is kept as {found}")
    held = getattr(value.tensor, str(found)).values
    if found != "bytes":
        return np.array(list(held), dtype=object if dtype == "string" else dtype)
    number = np.dtype(dtype).newbyteorder("<")
    require(len(held) % number.itemsize == 0, f"{name} ends within a number")
    return np.frombuffer(held, number)
