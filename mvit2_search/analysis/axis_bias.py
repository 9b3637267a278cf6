"""Which kind of architecture a proxy favours beyond what it is worth.

A noisy proxy follows every axis less than the truth does, and so does a noisy truth. Neither is a bias: the proxy
is compared with its regression on the noiseless truth, which is 0 for a proxy without relation to it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit  # scipy.stats, which has the same, takes half a second to import

from mvit2_search.analysis.separation import separation
from mvit2_search.analysis.tau import LEAST_NETWORKS, Interval, rounded

_ERROR_RATE = 0.05  # of the intervals of all axes together
_LEAST_RELIABILITY = 0.1  # below, the regression is anyone's guess


@dataclass(frozen=True, kw_only=True, slots=True)
class Bias:
    """How much the proxy favours the high end of an axis over its low end, beyond what the truth explains.

    In standard deviations of the proxy's scores, along a straight line. The intervals of all axes hold together
    (Bonferroni).
    """

    effect: Interval
    low_end: float
    high_end: float

    @property
    def favoured(self) -> float | None:
        """The end that the proxy favours; None if it may be neither."""
        if self.effect.low <= 0 <= self.effect.high:
            return None
        return self.high_end if self.effect.value > 0 else self.low_end


def biases(
    proxy_N: np.ndarray, truth_NS: np.ndarray, axes: Mapping[str, Sequence[float | None]]
) -> dict[str, Bias]:
    """By axis, of those with at least three known values, two of them different."""
    known = {name: np.array([v is not None for v in values], bool) for name, values in axes.items()}
    values = {name: np.array([v for v in axes[name] if v is not None], float) for name in axes}
    some = [name for name, one in values.items() if len(one) >= LEAST_NETWORKS and np.ptp(one) > 0]
    rate = _ERROR_RATE / max(len(some), 1)
    return {name: _bias(proxy_N[known[name]], truth_NS[known[name]], values[name], rate) for name in some}


def _bias(proxy_N: np.ndarray, truth_NS: np.ndarray, value_N: np.ndarray, rate: float) -> Bias:
    """With Student's t and the jackknife's standard error, which covers that the regression is estimated too."""
    n, low, high = len(value_N), float(value_N.min()), float(value_N.max())
    place_N = value_N / (high - low)
    effect = _effect(proxy_N, truth_NS, place_N)
    without_N = np.array(
        [_effect(*(np.delete(one, i, axis=0) for one in (proxy_N, truth_NS, place_N))) for i in range(n)]
    )
    error = math.sqrt((n - 1) * float(without_N.var()))
    half = -float(stdtrit(n - 2, rate / 2)) * error
    return Bias(effect=Interval(value=effect, low=effect - half, high=effect + half), low_end=low, high_end=high)


def _effect(proxy_N: np.ndarray, truth_NS: np.ndarray, place_N: np.ndarray) -> float:
    """The slope along an axis of what the truth does not explain of the proxy; 0 where all are in one place."""
    centred_N = rounded(place_N - place_N.mean())
    squares = float(centred_N @ centred_N)
    return float(centred_N @ _unexplained(proxy_N, truth_NS)) / squares if squares else 0.0


def _unexplained(proxy_N: np.ndarray, truth_NS: np.ndarray) -> np.ndarray:
    """The rest of the regression on the noiseless truth: its slope is too small by the truth's reliability."""
    proxy_N, truth_N = _standardised(proxy_N), _standardised(truth_NS.mean(axis=1))
    correlation = float(proxy_N @ truth_N) / (len(proxy_N) - 1)
    rest_N: np.ndarray = (
        proxy_N - correlation / max(separation(truth_NS).reliability, _LEAST_RELIABILITY) * truth_N
    )
    return rest_N


def _standardised(scores_N: np.ndarray) -> np.ndarray:
    """In standard deviations from the mean; 0 if all are equal."""
    centred_N = rounded(scores_N - scores_N.mean())
    deviation = float(centred_N.std(ddof=1))
    return centred_N / deviation if deviation > 0 else centred_N
