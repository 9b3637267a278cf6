"""What a latency holds for."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Self

from mvit2_search.records.latency import LatencyKind


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
