"""Executes a saved Core ML package on the CPU, operator by operator, and holds it to every type that it declares.

This proves the program and its weights. Apple's kernels, their sums in half precision and their overflows are not
in it.
"""

from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_type_hints

import numpy as np
import torch
from torch import Tensor

from mvit2_search.errors import MeasurementError, SpecError, first_line
from mvit2_search.export.mil.mlpackage import naming, require
from mvit2_search.export.mil.operators import OPERATORS, Operator
from mvit2_search.export.mil.program import Constant, DType, Operation, Program, TensorType, read_program
from mvit2_search.records import Artifact

Arithmetic = Literal["declared", "float32", "float64"]


def run_mlpackage(
    artifact: Artifact, inputs_NCHW: np.ndarray, *, arithmetic: Arithmetic = "declared"
) -> np.ndarray:
    """Outputs [N, ...] of a package, one sample at a time.

    Inputs are as the network takes them, also where the package takes images: these are handed over in 8 bits, in
    the order of channels that the package asks Core ML for.

    Raises:
        MeasurementError: the package is damaged, or does not compute what it declares.
        SpecError: an image was asked for and the values are no multiples of 1/255.
    """
    program = read_program(artifact.path)
    run = Interpreter(program, arithmetic)
    samples = torch.from_numpy(np.ascontiguousarray(_given(program, inputs_NCHW)))
    with torch.inference_mode(), naming(artifact.path.name):
        return np.stack([run(sample[None])[0].numpy() for sample in samples])


def _given(program: Program, inputs_NCHW: np.ndarray) -> np.ndarray:
    """What Core ML would hand to the program."""
    if program.image is None:
        return inputs_NCHW.astype(np.float32)
    pixels = np.round(255 * inputs_NCHW)
    if np.abs(pixels - 255 * inputs_NCHW).max() > 1e-3 or pixels.min() < 0 or pixels.max() > 255:
        raise SpecError("an image has 8 bits per channel: the values must be multiples of 1/255 from 0 to 1")
    order = program.convention[:3]  # that of `inputs_NCHW`
    require(order in ("RGB", "BGR"), f"the order of the channels is not stated: {program.convention!r}")
    turned = pixels if order == program.image else pixels[:, ::-1]
    return turned.astype(np.float32)


@dataclass(frozen=True, slots=True)
class _Held:
    """A value while a program runs: a tensor in the precision of the arithmetic, or whole numbers and words."""

    dtype: DType
    value: Any

    def tensor(self) -> Tensor:
        if not isinstance(self.value, Tensor):
            raise MeasurementError(f"expected a tensor, found {self.value!r}")
        return self.value


def _held(constant: Constant, dtype: torch.dtype) -> _Held:
    kind = constant.type.dtype
    if kind in ("float16", "float32"):
        return _Held(kind, torch.from_numpy(constant.array.astype("float64")).to(dtype))
    return _Held(kind, constant.array.tolist())


class Interpreter:
    """A program, ready to be run.

    In `declared` arithmetic every result that is declared half precision is rounded to it, with sums inside of an
    operator in single precision; `float32` and `float64` compute everything so, and only what the weights have
    lost remains.
    """

    def __init__(self, program: Program, arithmetic: Arithmetic = "declared") -> None:
        self.program, self._rounds = program, arithmetic == "declared"
        self._dtype = torch.float64 if arithmetic == "float64" else torch.float32
        self._constants = {name: _held(value, self._dtype) for name, value in program.constants.items()}

    def __call__(self, x: Tensor) -> Tensor:
        """One forward pass; the result is in the precision of the arithmetic.

        Raises:
            MeasurementError: an operator is unknown, lacks an input, gets one that it does not have, or gives
                another shape or type than the program declares.
        """
        program, values = self.program, dict(self._constants)
        self._keep(values, program.input_name, program.input_type, x.to(self._dtype))
        for operation in program.operations:
            with naming(f"{operation.kind} {operation.name}"):
                self._step(operation, values)
        return values[program.output_name].tensor()

    def _step(self, operation: Operation, values: dict[str, _Held]) -> None:
        require(operation.kind in (*OPERATORS, "cast"), "this operator is not known here")
        given = {name: [self._value(item, values) for item in items] for name, items in operation.inputs.items()}
        dtype, results = _cast(given) if operation.kind == "cast" else _computed(operation.kind, given)
        made, wanted = len(results), len(operation.outputs)
        require(made == wanted, f"gives {made} results and declares {wanted}")
        for (name, declared), result in zip(operation.outputs, results, strict=True):
            require(dtype == declared.dtype, f"gives {dtype} and declares {declared.dtype}")
            self._keep(values, name, declared, result)

    def _value(self, item: str | Constant, values: dict[str, _Held]) -> _Held:
        if isinstance(item, Constant):
            return _held(item, self._dtype)
        require(item in values, f"{item} is computed nowhere before")
        return values[item]

    def _keep(self, values: dict[str, _Held], name: str, declared: TensorType, result: Tensor) -> None:
        shape = tuple(result.shape)
        require(shape == declared.shape, f"{name} has the shape {list(shape)} and is declared {declared}")
        require(name not in values, f"there are two values called {name}")
        rounded = result.half().float() if self._rounds and declared.dtype == "float16" else result
        values[name] = _Held(declared.dtype, rounded)


def _cast(given: dict[str, list[_Held]]) -> tuple[DType, list[Tensor]]:
    """To another precision: what is rounded is what is declared."""
    require(given.keys() == {"x", "dtype"}, f"has the inputs {', '.join(given)}")
    names: dict[object, DType] = {"fp16": "float16", "fp32": "float32"}
    target = given["dtype"][0].value
    require(target in names, f"to {target!r} is not known here")
    return names[target], [given["x"][0].tensor()]


def _computed(kind: str, given: dict[str, list[_Held]]) -> tuple[DType, list[Tensor]]:
    """The results, and their type: that of the operator's tensors, which must all have one."""
    operator = OPERATORS[kind]
    hints = _parameters(operator)
    unknown = sorted(given.keys() - hints.keys())
    require(not unknown, f"has no input called {', '.join(unknown)}")
    tensors = [held for name, items in given.items() if Tensor in hints[name] for held in items]
    found = sorted({held.dtype for held in tensors})
    require(len(found) == 1, f"mixes {' and '.join(found)}")
    arguments = {name: _argument(name, items, hints[name]) for name, items in given.items()}
    try:
        result = operator(**arguments)
    except (RuntimeError, IndexError, ValueError, TypeError, ZeroDivisionError) as err:
        raise MeasurementError(first_line(err)) from err
    return tensors[0].dtype, result if isinstance(result, list) else [result]


@cache
def _parameters(operator: Operator) -> dict[str, tuple[type, ...]]:
    """For each parameter its type, apart: `(Tensor,)`, `(list, Tensor)`, `(int,)`, `(list, int)`, ..."""
    return {name: _apart(hint) for name, hint in get_type_hints(operator).items() if name != "return"}


def _apart(hint: Any) -> tuple[type, ...]:
    if isinstance(hint, UnionType):
        (hint,) = (part for part in get_args(hint) if part is not NoneType)
    return (list, *get_args(hint)) if get_args(hint) else (hint,)


def _argument(name: str, items: list[_Held], hint: tuple[type, ...]) -> Any:
    if hint == (list, Tensor):
        return [held.tensor() for held in items]
    require(len(items) == 1, f"{name} has {len(items)} values, expected 1")
    (held,) = items
    if hint == (Tensor,):
        return held.tensor()
    value = held.value.tolist() if isinstance(held.value, Tensor) else held.value
    wants_list, kind = hint[0] is list, hint[-1]
    fits = isinstance(value, list) == wants_list
    fits = fits and all(type(v) is kind for v in (value if wants_list else [value]))
    require(fits, f"{name} is {value!r}, expected {kind.__name__}{'s' if wants_list else ''}")
    return value
