"""The stopping rules: `Dominance`, `Halving` and `NeverStop`."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from mvit2_search.analysis.pareto import front_ranks
from mvit2_search.stopping import Curve


class Dominance:
    """Stops a training whose prediction bound shows that it will not enter the front.

    The latency is known before the training, so the candidate competes with the finished networks that are at
    least as fast. Its standing after some epochs is the mean over them of its accuracy, in standard deviations of
    all trainings after the same epoch: every epoch carries information and noise of its own. A linear regression
    over the finished trainings predicts the last accuracy from the standing. If the upper prediction bound
    (Student's t) is not above the best of those competitors, the candidate is stopped.

    The confidence holds for one candidate over all its epochs: each gets an equal share of the risk (Bonferroni).
    It assumes trainings of one kind and residuals that are nearly normal. Stopped trainings are missing from the
    regression; the finished ones are better on average, which raises the bound: the error is to train too much.

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
        epoch, looks = len(scores), _epochs_of(finished) - 1
        if len(finished) < self.at_least or epoch > looks:
            return math.inf
        confidence = 1 - (1 - self.confidence) / looks
        return end_bound_pct(scores, [curve.scores for curve in finished], confidence=confidence)


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
    return float(y_N.mean() + slope * away + stdtrit(freedom, confidence) * math.sqrt(variance))


class Halving:
    """Asynchronous successive halving of two objectives: after a few epochs, only the best share goes on.

    The stopping variant of MO-ASHA (Schmucker et al., arXiv:2106.12639). Rungs are the epochs 1, `factor`,
    `factor` squared and so on before the last. A candidate that reaches one is ranked among all that reached it
    before, by non-dominated sorting of accuracy there and latency. The best 1/`factor` go on; points of one front
    stay or go together. It promises nothing about the front: slow learners are stopped.
    """

    stops_dominated = False

    def __init__(self, *, factor: int = 3) -> None:
        self.factor = factor

    def should_stop(self, scores: Sequence[float], latency_ms: float, past: Sequence[Curve]) -> bool:
        epoch = len(scores)
        if epoch >= _epochs_of(past) or not self._is_rung(epoch):
            return False
        reached = [curve for curve in past if len(curve.scores) >= epoch]
        ranks = front_ranks(
            [scores[-1], *(curve.scores[epoch - 1] for curve in reached)],
            [latency_ms, *(curve.latency_ms for curve in reached)],
        )
        better = int((ranks < ranks[0]).sum())
        return better >= max(1, len(ranks) // self.factor)

    def _is_rung(self, epoch: int) -> bool:
        while epoch % self.factor == 0:
            epoch //= self.factor
        return epoch == 1


class NeverStop:
    """Trains everything to the end."""

    stops_dominated = False

    def should_stop(self, scores: Sequence[float], latency_ms: float, past: Sequence[Curve]) -> bool:
        return False


def _epochs_of(past: Sequence[Curve]) -> int:
    """Number of epochs of a whole training; 0 if none has finished."""
    return max((len(curve.scores) for curve in past if curve.finished), default=0)
