"""Stops a training whose prediction bound shows that it will not enter the front.

The latency is known before the training, so the candidate competes with the finished networks that are at least as
fast. Its standing after some epochs is the mean over them of its accuracy, in standard deviations of all trainings
after the same epoch: every epoch carries information and noise of its own. A linear regression over the finished
trainings predicts the last accuracy from the standing. If the upper prediction bound (Student's t) is not above
the best of those competitors, the candidate is stopped.

The confidence holds for one candidate over all its epochs: each gets an equal share of the risk (Bonferroni). It
assumes trainings of one kind and residuals that are nearly normal. Stopped trainings are missing from the
regression; the finished ones are better on average, which raises the bound and errs on the side of training.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import t as student_t

from mvit2_search.stopping.rule import Curve, epochs_of


class Dominance:
    """Compares an upper prediction bound with the best network that is as fast.

    Args:
        confidence: that the last accuracy is not above any of the bounds of a training.
        at_least: finished trainings before any is stopped, not below 4.
    """

    stops_dominated = True

    def __init__(self, *, confidence: float = 0.99, at_least: int = 5) -> None:
        self.confidence = confidence
        self.at_least = at_least

    def should_stop(self, scores: Sequence[float], latency_ms: float, past: Sequence[Curve]) -> bool:
        finished = [curve for curve in past if curve.finished]
        rivals = [c.scores[-1] for c in finished if c.allowed and c.latency_ms <= latency_ms]
        return bool(rivals) and self.bound_pct(scores, finished) <= max(rivals)

    def bound_pct(self, scores: Sequence[float], finished: Sequence[Curve]) -> float:
        """The upper bound with one epoch's share of the risk; infinite while too few trainings have finished."""
        epoch, looks = len(scores), epochs_of(finished) - 1
        if len(finished) < self.at_least or epoch > looks:
            return math.inf
        return end_bound_pct(
            scores,
            [curve.scores for curve in finished],
            confidence=1 - (1 - self.confidence) / looks,
        )


def end_bound_pct(scores: Sequence[float], finished_pct: Sequence[Sequence[float]], *, confidence: float) -> float:
    """The last accuracy that a training exceeds only with probability 1 - `confidence`.

    Infinite if all finished curves, of which three are needed, are equal so far.
    """
    finished_NE = np.asarray(finished_pct, float)
    standing, standing_N = _standings(np.asarray(scores, float), finished_NE[:, : len(scores)])
    return _prediction_bound(standing, standing_N, finished_NE[:, -1], confidence)


def _standings(accuracy_E: np.ndarray, finished_NE: np.ndarray) -> tuple[float, np.ndarray]:
    """The standing of a training and those of the finished ones, without epochs after which these are all equal.

    Means and deviations include the training itself, which bounds what one poor epoch can do: one of N + 1 values
    is at most the root of N deviations away from their mean.
    """
    all_NE = np.vstack([accuracy_E, finished_NE])
    sigma_E = all_NE.std(0)
    scale_E = np.divide(1, sigma_E, out=np.zeros_like(sigma_E), where=np.ptp(finished_NE, axis=0) > 1e-9)
    standing_N = ((all_NE - all_NE.mean(0)) * scale_E).mean(1)
    return float(standing_N[0]), standing_N[1:]


def _prediction_bound(x: float, x_N: np.ndarray, y_N: np.ndarray, confidence: float) -> float:
    """Upper prediction bound of y at `x`, from the regression of `y_N` on `x_N`; infinite if these are equal."""
    away_N, away = x_N - x_N.mean(), x - x_N.mean()
    squares = float(away_N @ away_N)
    if squares < 1e-12:
        return math.inf
    slope = float(away_N @ y_N) / squares
    residuals_N = y_N - y_N.mean() - slope * away_N
    freedom = len(y_N) - 2
    variance = float(residuals_N @ residuals_N) / freedom * (1 + 1 / len(y_N) + away**2 / squares)
    return float(y_N.mean() + slope * away + student_t.ppf(confidence, freedom) * math.sqrt(variance))
