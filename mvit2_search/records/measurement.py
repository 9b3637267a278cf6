"""A latency and everything that it depends on."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

Precision = Literal["float32", "float16"]
InputKind = Literal["tensor", "image"]  # an image is given in 8 bits


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
    protocol: int  # 0 where nothing is measured

    @property
    def kind(self) -> Literal["measured", "predicted"]:
        """What latencies with this passport are."""
        return "measured" if self.protocol else "predicted"

    @property
    def digest(self) -> str:
        """Twelve hex digits; equal passports, equal digests."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]

    def differences(self, other: Self) -> list[str]:
        """`runtime: onnxruntime 1.32.0 here, onnxruntime 1.31.0 there` for each entry that differs."""
        here, there = asdict(self), asdict(other)
        return [f"{k}: {here[k]} here, {there[k]} there" for k in here if here[k] != there[k]]


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
