"""A measurement as it is kept on disk: with what it is of and every pass."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, variance
from typing import Any, Self

from mvit2_search.arch import ArchConfig
from mvit2_search.records.latency import Measurement, Samples, latency_fault, time_fault

_POSITIVE = ("latency_ms", "reference_ms", "reference_now_ms")
_FINITE = ("low_ms", "high_ms", "p10_ms", "p90_ms", "load_ms")


@dataclass(frozen=True, kw_only=True, slots=True)
class AboutNetwork:
    """A whole network: `formulation` may be one of a later version."""

    arch: ArchConfig
    num_classes: int
    formulation: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"arch": self.arch.to_json()}


@dataclass(frozen=True, kw_only=True, slots=True)
class AboutMixer:
    """A token mixer alone."""

    mixer: str
    tokens: int
    channels: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


About = AboutNetwork | AboutMixer


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """`from_json(kept.to_json()) == kept`.

    Attributes:
        about: None in files of versions that did not say.
    """

    measurement: Measurement
    about: About | None
    visits: tuple[Samples, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "measurement": asdict(self.measurement),
            "about": None if self.about is None else self.about.to_json(),
            "visits": [asdict(visit) for visit in self.visits],
        }

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Self:
        """Also of the files of earlier versions.

        Raises:
            ValueError, KeyError, TypeError, AttributeError, OverflowError, SpecError: it is none.
        """
        return cls(
            measurement=_measurement(row["measurement"]),
            about=_about(row.get("about")),
            visits=tuple(map(_visit, row.get("visits", ()))),
        )


def _about(row: dict[str, Any] | None) -> About | None:
    if row is None:
        return None
    if "mixer" in row:
        return AboutMixer(mixer=row["mixer"], tokens=row["tokens"], channels=row["channels"])
    arch, num_classes = ArchConfig.from_json(row["arch"]), row["num_classes"]
    if type(num_classes) is not int or num_classes < 1:
        raise ValueError(f"num_classes is {num_classes!r}")
    return AboutNetwork(arch=arch, num_classes=num_classes, formulation=row["formulation"])


def _measurement(row: dict[str, Any]) -> Measurement:
    """The measurement, if its figures are such: a file may have been edited by hand."""
    if not isinstance(row["flags"], list):  # a text would be taken for its letters
        raise ValueError(f"flags is {row['flags']!r}")
    measurement = Measurement.from_json(row)
    for name in (*_POSITIVE, *_FINITE):
        value = getattr(measurement, name)
        if not math.isfinite(value) or (name in _POSITIVE and value <= 0):
            raise ValueError(f"{name} is {value}")
    if fault := latency_fault(measurement):
        raise ValueError(fault)
    return measurement


def _visit(row: dict[str, Any]) -> Samples:
    passes = {name: tuple(row[name]) for name in ("candidate_ms", "reference_ms")}
    placement = tuple((unit, share) for unit, share in row.get("placement", ()))
    return Samples(**row | passes | {"placement": placement})


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

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Self:
        """From a file that may have been edited by hand.

        Raises:
            ValueError, KeyError, TypeError, OverflowError: it is none.
        """
        trials = tuple(UnitTrial(**trial) for trial in row["aa_test"])
        known = cls(**row | {"scatter": Scatter(**row["scatter"]), "aa_test": trials})
        if fault := time_fault(known.reference_ms):
            raise ValueError(fault)
        if known.unit not in range(1, 1_000):
            raise ValueError(f"unit is {known.unit}")
        return known
