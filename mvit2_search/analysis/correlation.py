"""Rank correlation of two quantities, and the power law between them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import rel_entr, stdtrit

LEAST_NETWORKS = 3
LEAST_POINTS = 3  # two leave no degree of freedom for the interval
_TAIL = 0.025  # on either side


@dataclass(frozen=True, kw_only=True, slots=True)
class RankCorrelation:
    """Kendall's tau: the share of pairs in the same order minus that of pairs in the opposite order.

    Attributes:
        low, high: interval of tau in the population that the networks were drawn from, at least 95 %. By Hoeffding
            (1963, section 5b), the share among all pairs obeys the Chernoff bound of n // 2 independent ones, so
            it needs no large n and no normal distribution.
        p_value: of tau, exact by permutation if there are no ties.
        spearman: None, like `p_value`, if all values on one side are equal, which orders nothing.
    """

    n: int
    kendall: float
    low: float
    high: float
    p_value: float | None
    spearman: float | None


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> RankCorrelation:
    """Of two values per network, for at least three networks; a tied pair counts half as agreeing."""
    from scipy.stats import kendalltau, spearmanr  # takes half a second to import

    if len(x) < LEAST_NETWORKS:
        raise ValueError(f"{len(x)} networks: a rank correlation needs {LEAST_NETWORKS}")
    share = agreeing_share(x, y)
    tied = len(set(x)) < len(x) or len(set(y)) < len(y)
    method = "auto" if tied else "exact"
    low, high = share_interval(share, len(x) // 2)
    ordered = min(len(set(x)), len(set(y))) > 1
    return RankCorrelation(
        n=len(x),
        kendall=2 * share - 1,
        low=2 * low - 1,
        high=2 * high - 1,
        p_value=float(kendalltau(x, y, method=method).pvalue) if ordered else None,
        spearman=float(spearmanr(x, y).statistic) if ordered else None,
    )


def agreeing_share(x: Sequence[float], y: Sequence[float]) -> float:
    """Share of all pairs that both lists put in the same order."""
    first, second = np.triu_indices(len(x), k=1)
    x_P, y_P = (np.sign(np.asarray(v, float)[first] - np.asarray(v, float)[second]) for v in (x, y))
    return float(np.mean((x_P * y_P + 1) / 2))


def share_interval(share: float, pairs: int) -> tuple[float, float]:
    """The probabilities that `share` of `pairs` independent pairs does not rule out, by the Chernoff bound."""
    limit = math.log(1 / _TAIL) / pairs

    def excess(probability: float) -> float:
        """The Kullback-Leibler divergence of two coins, in nats, beyond the limit."""
        return float(sum(rel_entr((share, 1 - share), (probability, 1 - probability)))) - limit

    tiny = 1e-12
    low = 0.0 if share == 0 else brentq(excess, tiny, share) if excess(tiny) > 0 else 0.0
    high = 1.0 if share == 1 else brentq(excess, share, 1 - tiny) if excess(1 - tiny) > 0 else 1.0
    return float(low), float(high)


def residuals(latencies: Sequence[float], amounts: Sequence[float]) -> list[float]:
    """Residuals of log latency after a straight line in log amount."""
    log_y, log_x = np.log(latencies), np.log(amounts)
    slope, intercept = np.polyfit(log_x, log_y, 1)
    rest: list[float] = np.round(log_y - slope * log_x - intercept, 12).tolist()  # beyond is rounding error
    return rest


@dataclass(frozen=True, kw_only=True, slots=True)
class Slope:
    """The exponent of a power law with its 95 % interval."""

    value: float
    low: float
    high: float
    points: int


def log_log_slope(x: Sequence[float], y: Sequence[float]) -> Slope:
    """Slope of log y over log x by least squares; x and y positive, at least three points, not all at the same x.

    The interval, Student's t of the residuals, covers scatter about a straight line; that it is straight is
    assumed.
    """
    if len(x) < LEAST_POINTS:
        raise ValueError(f"{len(x)} points: an interval needs {LEAST_POINTS}")
    log_x, log_y = np.log(x), np.log(y)
    centred = log_x - log_x.mean()
    squares = float(centred @ centred)
    value = float(centred @ log_y) / squares
    residuals = log_y - log_y.mean() - value * centred
    freedom = len(x) - 2
    margin = float(stdtrit(freedom, 0.975)) * float(residuals @ residuals / freedom / squares) ** 0.5
    return Slope(value=value, low=value - margin, high=value + margin, points=len(x))
