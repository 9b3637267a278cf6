"""Where a training will end at most: prediction bounds from the finished ones."""

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from scipy.special import stdtrit

_MODELS_FROM = 8  # finished trainings before a covariate is tried: below, leaving one out tells little


class Regression(NamedTuple):
    """A least-squares line or plane through N points, and what it says of another one.

    Attributes:
        predicted: at the other point.
        leverage: of the other point, 1/N or more.
        leverage_N, residual_N: of the points themselves.
        freedom: N less the number of coefficients, at least 1.
    """

    predicted: float
    leverage: float
    leverage_N: np.ndarray
    residual_N: np.ndarray
    freedom: int

    @classmethod
    def of(cls, x_P: np.ndarray, x_NP: np.ndarray, y_N: np.ndarray) -> Self | None:
        """Of `y_N` on the columns of `x_NP`; None where these do not tell the points apart, or are too many.

        Args:
            x_P: the other point.
        """
        middle_P, freedom = x_NP.mean(0), len(y_N) - x_NP.shape[1] - 1
        away_NP, away_P = x_NP - middle_P, x_P - middle_P
        squares_PP = away_NP.T @ away_NP
        if freedom < 1 or _is_flat(squares_PP):
            return None
        inverse_PP = np.linalg.inv(squares_PP)
        slope_P = inverse_PP @ (away_NP.T @ y_N)
        leverage_N = 1 / len(y_N) + ((away_NP @ inverse_PP) * away_NP).sum(1)
        return cls(
            predicted=float(y_N.mean() + slope_P @ away_P),
            leverage=float(1 / len(y_N) + away_P @ inverse_PP @ away_P),
            leverage_N=np.minimum(leverage_N, 1 - 1e-9),
            residual_N=y_N - y_N.mean() - away_NP @ slope_P,
            freedom=freedom,
        )

    @property
    def left_out(self) -> np.ndarray:
        """By how much each point is above the prediction from all others."""
        left_out_N: np.ndarray = self.residual_N / (1 - self.leverage_N)
        return left_out_N

    def bound(self, confidence: float) -> float:
        """Upper prediction bound at the other point (Student's t)."""
        variance = self._squares / self.freedom * (1 + self.leverage)
        return self.predicted + float(stdtrit(self.freedom, confidence)) * math.sqrt(variance)

    def left_out_margins(self, confidence: float) -> np.ndarray:
        """By how much each point's bound from all others is above their prediction; infinite if these are few."""
        if self.freedom < 2:
            return np.full(len(self.residual_N), np.inf)
        squares_N = np.maximum(self._squares - self.residual_N * self.left_out, 0)
        variance_N = squares_N / (self.freedom - 1) / (1 - self.leverage_N)
        margin_N: np.ndarray = stdtrit(self.freedom - 1, confidence) * np.sqrt(variance_N)
        return margin_N

    @property
    def _squares(self) -> float:
        return float(self.residual_N @ self.residual_N)


def _is_flat(squares_PP: np.ndarray) -> bool:
    """Whether a column hardly varies, or all of it follows from the others."""
    scale_P = np.diag(squares_PP)
    return bool(scale_P.min() < 1e-12 or np.linalg.det(squares_PP) < 1e-9 * scale_P.prod())


def regression(
    scores_E: Sequence[float],
    finished_NE: Sequence[Sequence[float]] | np.ndarray,
    size_K: Sequence[float] = (),
    size_NK: Sequence[Sequence[float]] | np.ndarray = (),
) -> Regression | None:
    """Of the last accuracies on the standing so far and, at most, one measure of size.

    That measure is taken, if any, with which the finished trainings predict one another best: few trainings do not
    bear more coefficients.

    Args:
        scores_E: of the training so far.
        finished_NE: of the finished trainings, to their end.
        size_K, size_NK: what the networks are.

    Returns:
        None where all finished curves are equal so far, or too few.
    """
    curves_NE = np.asarray(finished_NE, float)
    standing, standing_N = standings(np.asarray(scores_E, float), curves_NE[:, : len(scores_E)])
    last_N = curves_NE[:, -1]
    measures = zip(size_K, np.asarray(size_NK, float).T, strict=True) if len(last_N) >= _MODELS_FROM else ()
    models = [Regression.of(np.array([standing]), standing_N[:, None], last_N)]
    for one, one_N in measures:
        models.append(Regression.of(np.array([standing, one]), np.column_stack([standing_N, one_N]), last_N))
    found = [model for model in models if model is not None and models[0] is not None]
    return min(found, key=lambda model: float(model.left_out @ model.left_out), default=None)


def standings(scores_E: np.ndarray, finished_NE: np.ndarray) -> tuple[float, np.ndarray]:
    """The standing of a training and those of the finished ones, without epochs after which these are all equal.

    Means and deviations include the training itself, which bounds what one poor epoch can do: one of N + 1 values
    is at most the root of N deviations away from their mean.
    """
    all_NE = np.vstack([scores_E, finished_NE])
    sigma_E = all_NE.std(0)
    scale_E = np.divide(1, sigma_E, out=np.zeros_like(sigma_E), where=np.ptp(finished_NE, axis=0) > 1e-9)
    standing_N = ((all_NE - all_NE.mean(0)) * scale_E).mean(1)
    return float(standing_N[0]), standing_N[1:]


def end_bound_pct(
    scores_E: Sequence[float], finished_pct: Sequence[Sequence[float]], *, confidence: float
) -> float:
    """The last accuracy that a training exceeds only with probability 1 - `confidence`, sizes left aside.

    Infinite if all finished curves, of which three are needed, are equal so far.
    """
    found = regression(scores_E, finished_pct)
    return math.inf if found is None else found.bound(confidence)
