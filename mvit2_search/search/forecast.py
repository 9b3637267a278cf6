"""A rough guess at a latency from multiply-adds, good enough not to time hopeless candidates.

It is never recorded, reported or compared with a budget: every candidate that the guess lets through
is measured.
"""

from collections.abc import Sequence

import numpy as np


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
        self._offset = float(np.mean(np.log(latency_ms) - self._slope * np.log(macs)))

    def latency_ms(self, macs: int) -> float:
        return float(np.exp(self._offset + self._slope * np.log(macs)))
