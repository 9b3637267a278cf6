"""How two quantities go together over networks: the order of both, and the power of one in the other.

Whether two lists of latencies are in the same order, with an interval that holds for any number of them.

How fast one quantity grows with another, as a power.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import kendalltau, spearmanr, t

LEAST_NETWORKS = 3
_TAIL = 0.025  # on either side


@dataclass(frozen=True, kw_only=True, slots=True)
class RankCorrelation:
    """Kendall's tau is the share of pairs in the same order less that of pairs in the other order.

    Attributes:
        low, high: of tau in the population that the networks were drawn from, at least 95 %. By Hoeffding (1963,
            section 5b), the share among all pairs obeys the Chernoff bound of n // 2 independent ones, so it needs
            no large n and no normal distribution.
        p_value: of tau, exact by permutation where there are no ties.
        spearman: None, as `p_value`, where all values on one side are equal, which orders nothing.
    """

    n: int
    kendall: float
    low: float
    high: float
    p_value: float | None
    spearman: float | None


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> RankCorrelation:
    """Of two values per network, of at least three networks; a tied pair counts half as agreeing."""
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
        return _divergence(share, probability) - limit

    tiny = 1e-12
    low = 0.0 if share == 0 else brentq(excess, tiny, share) if excess(tiny) > 0 else 0.0
    high = 1.0 if share == 1 else brentq(excess, share, 1 - tiny) if excess(1 - tiny) > 0 else 1.0
    return float(low), float(high)


def residuals(latencies: Sequence[float], amounts: Sequence[float]) -> list[float]:
    """What a straight line of the logarithms leaves of `latencies` when `amounts` are known."""
    log_y, log_x = np.log(latencies), np.log(amounts)
    slope, intercept = np.polyfit(log_x, log_y, 1)
    rest: list[float] = np.round(log_y - slope * log_x - intercept, 12).tolist()  # the rest is the sum's rounding
    return rest


def _divergence(share: float, probability: float) -> float:
    """Of two coins, in nats."""
    terms = ((share, probability), (1 - share, 1 - probability))
    return sum(a * math.log(a / b) for a, b in terms if a > 0)


LEAST_POINTS = 3  # two leave no degree of freedom for the interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Slope:
    """The exponent of a power law with its 95 % interval."""

    value: float
    low: float
    high: float
    points: int


def log_log_slope(x: Sequence[float], y: Sequence[float]) -> Slope:
    """Slope of log y over log x by least squares; the interval is Student's t of the residuals.

    It covers the scatter of the points about a straight line; that they lie about one is assumed.

    Args:
        x, y: positive, at least three points, not all at the same x.
    """
    if len(x) < LEAST_POINTS:
        raise ValueError(f"{len(x)} points: an interval needs {LEAST_POINTS}")
    log_x, log_y = np.log(x), np.log(y)
    centred = log_x - log_x.mean()
    spread = float(centred @ centred)
    value = float(centred @ log_y) / spread
    residuals = log_y - log_y.mean() - value * centred
    freedom = len(x) - 2
    margin = float(t.ppf(0.975, freedom)) * float(residuals @ residuals / freedom / spread) ** 0.5
    return Slope(value=value, low=value - margin, high=value + margin, points=len(x))
