"""A latency, measured or predicted, and the passport that says what it holds for."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace
from numbers import Real
from typing import Literal, Self

from mvit2_search.errors import MeasurementError


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

    def __post_init__(self) -> None:
        _check(self)
        for reference_ms in (self.reference_ms, self.reference_now_ms):
            if fault := time_fault(reference_ms):
                raise MeasurementError(f"the reference network: {fault}")

    def on_scale_of(self, reference_ms: float) -> Self:
        """The same measurement for a study whose reference took `reference_ms`."""
        factor = reference_ms / self.reference_ms
        names = ("latency_ms", "low_ms", "high_ms", "p10_ms", "p90_ms")
        return replace(self, reference_ms=reference_ms, **{name: factor * getattr(self, name) for name in names})

    def __str__(self) -> str:
        """`12.30 ms [12.10, 12.50]`, or `12.30 ms [11.10, 13.50] (unsettled)`."""
        flagged = f" ({', '.join(self.flags)})" if self.flags else ""
        return f"{self.latency_ms:.2f} ms [{self.low_ms:.2f}, {self.high_ms:.2f}]{flagged}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """What a predictor makes of an architecture: never stored or shown as a measurement."""

    latency_ms: float
    low_ms: float  # 95 % prediction interval
    high_ms: float
    predictor: str  # in words, with what it was fitted to

    def __post_init__(self) -> None:
        _check(self)

    def __str__(self) -> str:
        """`predicted 12.30 ms [11.80, 12.80]`."""
        return f"predicted {self.latency_ms:.2f} ms [{self.low_ms:.2f}, {self.high_ms:.2f}]"


Latency = Measurement | Prediction
LatencyKind = Literal["measured", "predicted"]


def latency_kind(latency: Latency) -> LatencyKind:
    return "measured" if isinstance(latency, Measurement) else "predicted"


_LEAST_MS, _MOST_MS = 1e-4, 1e6  # a tenth of a microsecond; a quarter of an hour


def score_fault(value: object) -> str | None:
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


def _check(latency: Latency) -> None:
    """Raises MeasurementError where a latency, or its interval, cannot be one."""
    if fault := time_fault(latency.latency_ms):
        raise MeasurementError(fault)
    low, value, high = (_number(ms) for ms in (latency.low_ms, latency.latency_ms, latency.high_ms))
    if low is None or value is None or high is None or not -math.inf < low <= value <= high < math.inf:
        interval = f"[{_shown(latency.low_ms)}, {_shown(latency.high_ms)}]"
        raise MeasurementError(f"a latency of {value:g} ms is not within its own interval, {interval}")


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _shown(value: object) -> str:
    return repr(value)[:80]


@dataclass(frozen=True, kw_only=True, slots=True)
class Passport:
    """What a latency holds for. Latencies of different passports are never compared."""

    device: str  # in words, for reports
    chip: str
    system: str
    runtime: str
    compute_units: str
    precision: str
    batch: int
    threads: int
    kind: LatencyKind = "measured"  # what latencies with this passport are
    protocol: int | None = None  # version of the timing protocol; none where nothing is measured

    @property
    def digest(self) -> str:
        """Twelve hex digits; equal passports, equal digests."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]

    def differences(self, other: Self) -> list[str]:
        """`runtime: onnxruntime 1.32.0 here, onnxruntime 1.31.0 there` for each entry that differs."""
        here, there = asdict(self), asdict(other)
        return [f"{k}: {here[k]} here, {there[k]} there" for k in here if here[k] != there[k]]


def device_sentence(passport: Passport) -> str:
    """What the latencies were measured on, or predicted for."""
    if passport.kind == "predicted":
        return (
            f"Latencies are predicted for {passport.device}; nothing was measured. Method: {passport.runtime}. "
            "If you have the device, `mvit2-search measure` times an exported architecture on it."
        )
    threads = f", {passport.threads} thread" if passport.threads == 1 else ""
    return (
        f"Latencies were measured with {passport.device} ({passport.chip}, {passport.system}; "
        f"{passport.runtime}, {passport.precision}, batch {passport.batch}{threads}). "
        "Other devices give other latencies and may rank networks differently."
    )
