"""How good predictions are, on networks that the predictor has not seen, and how good the labels are."""

from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import binomtest

from mvit2_search.records import Prediction

HITS_PCT = (5, 10)


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """`hits` of `n`, with the exact (Clopper-Pearson) 95 % interval of the probability."""

    hits: int
    n: int

    @property
    def pct(self) -> float:
        return 100 * self.hits / self.n

    @property
    def interval_pct(self) -> tuple[float, float]:
        interval = binomtest(self.hits, self.n).proportion_ci(0.95, method="exact")
        return 100 * float(interval.low), 100 * float(interval.high)

    def __str__(self) -> str:
        """`48 of 50 (96 %; 95 % interval 86 to 100 %)`."""
        low, high = self.interval_pct
        return f"{self.hits} of {self.n} ({self.pct:.0f} %; 95 % interval {low:.0f} to {high:.0f} %)"


def within(values: Sequence[float], truths: Sequence[float], pct: float) -> Share:
    """Values that are at most `pct` percent off the truth."""
    pairs = list(zip(values, truths, strict=True))
    return Share(hits=sum(abs(v / t - 1) <= pct / 100 for v, t in pairs), n=len(pairs))


def covered(predictions: Sequence[Prediction], truths: Sequence[float]) -> Share:
    """Truths inside of the stated 95 % intervals."""
    pairs = list(zip(predictions, truths, strict=True))
    return Share(hits=sum(p.low_ms <= t <= p.high_ms for p, t in pairs), n=len(pairs))
