"""Stop what can no longer enter the front at its latency, which is known before the training.

After epoch e, the finished trainings say how the last accuracy follows from that after epoch e: a straight line
with a normal scatter. Student's t gives the bound that a new training exceeds with a small probability, however
few have finished. A candidate whose bound is no higher than what a network that is as fast has reached is stopped.

The confidence holds for one candidate over all epochs: each of the epochs at which it may be stopped gets an equal
share of the risk. It rests on finished trainings and candidate being of one kind, and on a scatter that is near
normal. Stopped trainings are missing from the line. As what is missing was low at another epoch, what is left ends
a little higher than the whole would, which raises the bound: stopping errs on the side of training.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import t as student_t

from mvit2_search.search.stopping.rule import Curve, epochs_of


class Dominance:
    """Upper prediction bound against the best that is as fast.

    Args:
        confidence: that the last accuracy is not above any of the bounds of a training.
        at_least: finished trainings before any is stopped, not below 4.
    """

    stops_dominated = True

    def __init__(self, *, confidence: float = 0.99, at_least: int = 5) -> None:
        self.confidence = confidence
        self.at_least = at_least

    def should_stop(self, accuracy_pct: Sequence[float], latency_ms: float, past: Sequence[Curve]) -> bool:
        finished = [curve for curve in past if curve.finished]
        rivals = [c.accuracy_pct[-1] for c in finished if c.allowed and c.latency_ms <= latency_ms]
        return bool(rivals) and self.bound_pct(accuracy_pct, finished) <= max(rivals)

    def bound_pct(self, accuracy_pct: Sequence[float], finished: Sequence[Curve]) -> float:
        """What the training ends above only with an epoch's share of the risk; infinite while little is known."""
        epoch, looks = len(accuracy_pct), epochs_of(finished) - 1
        if len(finished) < self.at_least or epoch > looks:
            return math.inf
        return upper_bound_pct(
            accuracy_pct[-1],
            after_epoch_pct=[c.accuracy_pct[epoch - 1] for c in finished],
            last_pct=[c.accuracy_pct[-1] for c in finished],
            confidence=1 - (1 - self.confidence) / looks,
        )


def upper_bound_pct(
    accuracy_pct: float, *, after_epoch_pct: Sequence[float], last_pct: Sequence[float], confidence: float
) -> float:
    """What the last accuracy of a training exceeds only with probability 1 - `confidence`.

    Args:
        accuracy_pct: of the training after some epoch.
        after_epoch_pct, last_pct: of at least three finished trainings, after the same epoch and at their end.

    Returns:
        Infinity where the finished ones all had the same accuracy after that epoch, which then says nothing.
    """
    x_N, y_N = np.asarray(after_epoch_pct, float), np.asarray(last_pct, float)
    away_N, away = x_N - x_N.mean(), accuracy_pct - x_N.mean()
    spread = float(away_N @ away_N)
    if spread < 1e-12:
        return math.inf
    slope = float(away_N @ y_N) / spread
    residuals_N = y_N - y_N.mean() - slope * away_N
    freedom = len(y_N) - 2
    variance = float(residuals_N @ residuals_N) / freedom * (1 + 1 / len(y_N) + away**2 / spread)
    return float(y_N.mean() + slope * away + student_t.ppf(confidence, freedom) * math.sqrt(variance))
