"""An exported network, its formulation (`models.formulations`), and the options of a Core ML package."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from mvit2_search.errors import SpecError

Precision = Literal["float32", "float16"]
InputKind = Literal["tensor", "image"]  # an image is given in 8 bits

FormulationName = Literal["rank5", "pixel_unshuffle", "layer_norm", "sum_first"]
FORMULATION_NAMES: tuple[FormulationName, ...] = get_args(FormulationName)
DEFAULT_FORMULATION: FormulationName = "pixel_unshuffle"
Target = Literal["iOS16", "iOS17", "iOS18", "iOS26"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
TARGETS: tuple[Target, ...] = get_args(Target)
INPUT_KINDS: tuple[InputKind, ...] = get_args(InputKind)


@dataclass(frozen=True, kw_only=True, slots=True)
class CoreMLOptions:
    """The choices that Core ML leaves open.

    Attributes:
        precision: of the arithmetic, the weights and, for tensors, the input and the output.
        target: the oldest system that is to run the package; iPadOS, tvOS and macOS 13, 14, 15 and 26 go
            with the four.
        input_kind: numbers in [0, 1], or an image of 8 bits per channel that Core ML itself scales.

    Raises:
        SpecError: a value is none of these.
    """

    precision: Precision = "float16"
    target: Target = "iOS16"
    input_kind: InputKind = "tensor"

    def __post_init__(self) -> None:
        for name, known in (("precision", PRECISIONS), ("target", TARGETS), ("input_kind", INPUT_KINDS)):
            if getattr(self, name) not in known:
                raise SpecError(f"{name}: expected one of {', '.join(known)}, found {getattr(self, name)!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """An exported network of one input and one output, ready for a device."""

    path: Path
    sha256: str  # of the content: equal for equal networks and weights
    format: str  # a key of `export.FORMATS`
    precision: Precision
    input_name: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    convention: str = ""  # of the input, in the words that the file keeps
    input_kind: InputKind = "tensor"
