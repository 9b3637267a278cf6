"""A latency, measured or predicted, and everything that it depends on.

A latency and everything that it depends on.

A latency that nobody measured.

A latency, measured or predicted. The two are different records and never mixed unlabelled.

What can be an accuracy or a latency at all. Nothing else is recorded, or read from a record as a result.
"""

import math
from dataclasses import asdict, dataclass, replace
from numbers import Real
from pathlib import Path
from typing import Any, Literal, Self

Precision = Literal["float32", "float16"]
InputKind = Literal["tensor", "image"]  # an image is given in 8 bits


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """An exported network of one input and one output, ready for a device."""

    path: Path
    sha256: str  # of the content: equal for equal networks and weights
    format: str  # a key of `export.formats.FORMATS`
    precision: Precision
    input_name: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    convention: str = ""  # of the input, in the words that the file keeps
    input_kind: InputKind = "tensor"


@dataclass(frozen=True, kw_only=True, slots=True)
class Samples:
    """Milliseconds of single forward passes in one visit.

    They were taken in bursts of `unit` passes, candidate and reference in turn: the i-th burst of one
    stands next to the i-th of the other.
    """

    candidate_ms: tuple[float, ...]
    reference_ms: tuple[float, ...]
    unit: int
    load_ms: float  # of the candidate, cold
    placement: tuple[tuple[str, float], ...] = ()  # share of the operators planned for each compute device


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """The latency of one artifact on one device.

    The number is the paired median of candidate over reference, times `reference_ms`, the latency that the
    reference is known to have, or had when the study began: a machine that runs slower for a while slows
    both, and the ratio stays.
    """

    artifact_sha256: str
    passport: str  # digest
    latency_ms: float
    low_ms: float  # 95 % interval of the ratio, times the reference: that of `reference_ms` is not in it
    high_ms: float
    p10_ms: float  # spread of single pairs
    p90_ms: float
    pairs: int  # of bursts
    unit: int  # passes in a burst
    visits: int
    set_aside: int  # visits in which the machine ran at another speed, or changed it
    reference_ms: float
    reference_now_ms: float  # median of the reference beside these samples
    load_ms: float  # of the first visit
    placement: tuple[tuple[str, float], ...]  # share of the operators planned for each compute device
    measured_at: str  # UTC, a label only
    flags: tuple[str, ...]  # "drift", "fast", "slow", "unsettled"

    def on_scale_of(self, reference_ms: float) -> Self:
        """The same measurement for a study whose reference took `reference_ms`."""
        factor = reference_ms / self.reference_ms
        names = ("latency_ms", "low_ms", "high_ms", "p10_ms", "p90_ms")
        return replace(self, reference_ms=reference_ms, **{name: factor * getattr(self, name) for name in names})

    def __str__(self) -> str:
        """`12.30 ms [12.10, 12.50]`, or `12.30 ms [11.10, 13.50] (unsettled)`."""
        flagged = f" ({', '.join(self.flags)})" if self.flags else ""
        return f"{self.latency_ms:.2f} ms [{self.low_ms:.2f}, {self.high_ms:.2f}]{flagged}"

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Self:
        """Also of rows from before a measurement was made in several visits."""
        since: dict[str, Any] = {"unit": 1, "visits": 1, "set_aside": 0, "placement": ()}
        whole = since | row
        placement = tuple((unit, share) for unit, share in whole["placement"])
        return cls(**whole | {"flags": tuple(whole["flags"]), "placement": placement})


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """What a predictor makes of an architecture: never stored or shown as a measurement."""

    latency_ms: float
    low_ms: float  # 95 % prediction interval
    high_ms: float
    predictor: str  # in words, with what it was fitted to

    def __str__(self) -> str:
        """`predicted 12.30 ms [11.80, 12.80]`."""
        return f"predicted {self.latency_ms:.2f} ms [{self.low_ms:.2f}, {self.high_ms:.2f}]"


Latency = Measurement | Prediction
LatencyKind = Literal["measured", "predicted"]

_KEYS: dict[type[Latency], str] = {Measurement: "measurement", Prediction: "prediction"}


def latency_kind(latency: Latency) -> LatencyKind:
    return "measured" if isinstance(latency, Measurement) else "predicted"


def latency_to_json(latency: Latency) -> dict[str, Any]:
    """One entry, whose name says which of the two it is."""
    return {_KEYS[type(latency)]: asdict(latency)}


def latency_from_json(row: dict[str, Any]) -> Latency:
    """The latency that `row` has under one of those names; KeyError where it has none."""
    return Measurement.from_json(row["measurement"]) if "measurement" in row else Prediction(**row["prediction"])


_LEAST_MS, _MOST_MS = 1e-4, 1e6  # a tenth of a microsecond; a quarter of an hour


def accuracy_fault(value: object) -> str | None:
    """What is wrong with `value` as an accuracy in percent."""
    if (number := _number(value)) is None:
        return f"an accuracy of {_shown(value)} is no number"
    if not 0 <= number <= 100:
        return f"an accuracy of {_shown(value)} %: expected from 0 to 100"
    return None


def time_fault(ms: object) -> str | None:
    """What is wrong with `ms` as the time that a network takes."""
    value = _number(ms)
    if value is None or not _LEAST_MS <= value <= _MOST_MS:
        return f"a latency of {_shown(ms)} ms: expected from {_LEAST_MS:g} to {_MOST_MS:,.0f}"
    return None


def latency_fault(latency: Latency) -> str | None:
    """What is wrong with a latency and its interval."""
    if fault := time_fault(latency.latency_ms):
        return fault
    low, value, high = (_number(ms) for ms in (latency.low_ms, latency.latency_ms, latency.high_ms))
    if low is None or value is None or high is None or not -math.inf < low <= value <= high < math.inf:
        interval = f"[{_shown(latency.low_ms)}, {_shown(latency.high_ms)}]"
        return f"a latency of {value:g} ms is not within its own interval, {interval}"
    return None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _shown(value: object) -> str:
    return repr(value)[:80]
