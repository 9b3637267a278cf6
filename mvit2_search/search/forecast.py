"""A rough guess at a latency from multiply-adds, good enough not to time hopeless candidates.

It is never recorded, reported or compared with a budget: every candidate that the guess lets through
is measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mvit2_search.complexity import Cost
from mvit2_search.verdict import Limits

_ENOUGH, _UNKNOWN_ERROR = 5, 0.2  # networks that tell how far off the law is; until then, of the logarithm


class Forecast:
    """A power law through the latencies measured so far.

    Args:
        macs, latency_ms: at least one measured network.
    """

    def __init__(self, macs: Sequence[int], latency_ms: Sequence[float]) -> None:
        slope = 1.0
        if len(set(macs)) > 1:
            slope = float(np.polyfit(np.log(macs), np.log(latency_ms), 1)[0])
        self._slope = max(slope, 0.1)  # more work never takes less time
        rest = np.log(latency_ms) - self._slope * np.log(macs)
        self._factor = float(np.exp(np.mean(rest)))
        self._error = 2 * float(rest.std(ddof=2)) if len(rest) >= _ENOUGH else _UNKNOWN_ERROR

    def latency_ms(self, macs: int) -> float:
        return float(self._factor * macs**self._slope)

    def bounds_ms(self, macs_M: np.ndarray) -> np.ndarray:
        """Expected, and above which about one in forty latencies lies, of shape 2 x M."""
        expected_M = self._factor * macs_M.astype(float) ** self._slope
        return np.outer(np.exp([0.0, self._error]), expected_M)


@dataclass(frozen=True, slots=True)
class Guess:
    """What share of the limits a network takes, as far as can be told before it is timed."""

    forecast: Forecast
    limits: Limits

    def share(self, cost: Cost) -> float:
        """Above 1 is too much."""
        share = self.forecast.latency_ms(cost.macs) / self.limits.latency_ms
        return share if self.limits.max_params is None else max(share, cost.params / self.limits.max_params)
