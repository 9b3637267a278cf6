"""Measurements as they are kept on disk, and what is known of the reference on a device."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance
from typing import Self

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.head import Head
from mvit2_search.errors import MeasurementError
from mvit2_search.records.latency import Measurement, Samples, time_fault
from mvit2_search.records.passport import Passport


@dataclass(frozen=True, kw_only=True, slots=True)
class AboutNetwork:
    """A whole network: `formulation` may be one of a later version."""

    arch: ArchConfig
    head: Head
    formulation: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AboutMixer:
    """A token mixer alone."""

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
