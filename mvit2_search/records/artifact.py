"""Exported networks, and the measurements of them that are kept on disk."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, variance
from typing import Literal, Self, get_args

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.head import Head
from mvit2_search.errors import MeasurementError, SpecError
from mvit2_search.records.latency import Measurement, Passport, Samples, time_fault

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
    """The choices that Core ML leaves open; raises SpecError for a value that is none of them.

    Attributes:
        precision: of the arithmetic, the weights and, for tensors, the input and the output.
        target: the oldest system that is to run the package; iPadOS, tvOS and macOS 13, 14, 15 and 26 go
            with the four.
        input_kind: numbers in [0, 1], or an image of 8 bits per channel that Core ML itself scales.
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


@dataclass(frozen=True, kw_only=True, slots=True)
class AboutNetwork:
    """A whole network: `formulation` may be one of a later version."""

    arch: ArchConfig
    head: Head
    formulation: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AboutMixer:
    mixer: str
    tokens: int
    channels: int


About = AboutNetwork | AboutMixer


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A measurement with what it is of, where that is said, and every pass."""

    measurement: Measurement
    about: About | None
    visits: tuple[Samples, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scatter:
    """How far visits of one network are apart on a device: the variance of their relative medians."""

    variance: float
    freedom: int  # degrees of freedom of that estimate

    @classmethod
    def of(cls, medians: Sequence[float]) -> Self:
        mean = fmean(medians)
        return cls(variance=variance(median / mean for median in medians), freedom=len(medians) - 1)


UNKNOWN = Scatter(variance=0.0, freedom=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitTrial:
    """What came of timing two copies of one network in turn, in bursts of `unit` passes."""

    unit: int
    pass_ms: float  # median, in the faster of the rounds
    ratio: float  # of the copies, whose truth is 1
    spread_pct: float  # from the 10th to the 90th percentile of the pairs' ratios


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownReference:
    """What is known of the reference on one device."""

    reference_ms: float  # when nothing slows the machine
    unit: int
    scatter: Scatter  # of visits in which it was timed against itself
    aa_test: tuple[UnitTrial, ...]

    def __post_init__(self) -> None:
        if fault := time_fault(self.reference_ms):
            raise MeasurementError(fault)
        if self.unit not in range(1, 1_000):
            raise ValueError(f"unit is {self.unit}")


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptReference:
    """What is known of the reference now, and the visits that first told it."""

    known: KnownReference
    passport: Passport
    visits: tuple[Samples, ...]
