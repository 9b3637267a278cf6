"""A latency that nobody measured."""

from dataclasses import dataclass


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
