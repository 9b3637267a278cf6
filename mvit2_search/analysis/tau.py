"""Kendall's tau with an interval that few architectures justify.

Tau is a mean over all pairs: 1 where both lists put the pair in the same order, -1 where in opposite ones, 0 where
one of them ties it. It is a U-statistic of the architectures, so leaving out one at a time (the jackknife) gives
its standard error. That contains whatever makes the scores of an architecture vary, seeds included.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit  # scipy.stats, which has the same, takes half a second to import

LEAST_NETWORKS = 3  # leaving out one of two leaves no pair
_TAIL = 0.025  # on either side
_DIGITS = 9  # of a percent; beyond is rounding error


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """An estimate with its 95 % interval, which includes it."""

    value: float
    low: float
    high: float

    def mapped(self, rising: Callable[[float], float]) -> "Interval":
        """The interval of a rising function of the estimate."""
        return Interval(value=rising(self.value), low=rising(self.low), high=rising(self.high))


def agreement(x_N: Sequence[float] | np.ndarray, y_N: Sequence[float] | np.ndarray) -> np.ndarray:
    """1, 0 or -1 for each pair of networks, an N by N matrix whose mean off the diagonal is tau.

    >>> agreement([1, 2, 2], [10, 20, 30]).astype(int)
    array([[0, 1, 1],
           [1, 0, 0],
           [1, 0, 0]])
    """
    orders = (np.sign(np.subtract.outer(v, v)) for v in (np.asarray(x_N, float), np.asarray(y_N, float)))
    agreement_NN: np.ndarray = next(orders) * next(orders)
    return agreement_NN


def tau_interval(agreement_NN: np.ndarray) -> Interval:
    """Of tau in the population that the networks were drawn from: Fisher's z with the jackknife's standard error.

    It reaches at least as far to either side as if one more network agreed with no other (`_margin_of_one`). Else
    a few networks in perfect order, whose jackknife error is 0, would prove that all are.

    Args:
        agreement_NN: of at least three networks, symmetric, 0 on the diagonal.
    """
    tau, error, most = _mean(agreement_NN), _standard_error(agreement_NN), _most(len(agreement_NN))
    inner = min(max(tau, -most), most)
    z, half = math.atanh(inner), -float(ndtri(_TAIL)) * error / (1 - inner**2)
    margin = _margin_of_one(len(agreement_NN))
    low, high = min(math.tanh(z - half), tau - margin), max(math.tanh(z + half), tau + margin)
    return Interval(value=tau, low=max(low, -1.0), high=min(high, 1.0))


def difference_interval(first_NN: np.ndarray, second_NN: np.ndarray) -> Interval:
    """Of the difference of two taus on the same networks: Student's t with the jackknife's standard error."""
    paired_NN, freedom = first_NN - second_NN, len(first_NN) - 1
    half = -float(stdtrit(freedom, _TAIL)) * _standard_error(paired_NN)
    lead, half = _mean(paired_NN), max(half, _margin_of_one(len(paired_NN)))
    return Interval(value=lead, low=max(lead - half, -2.0), high=min(lead + half, 2.0))


def rounded(values_N: np.ndarray) -> np.ndarray:
    """Without rounding error, which would order equal values."""
    exact_N: np.ndarray = np.round(values_N, _DIGITS)
    return exact_N


def _mean(agreement_NN: np.ndarray) -> float:
    return float(agreement_NN.sum()) / (len(agreement_NN) * (len(agreement_NN) - 1))


def _standard_error(agreement_NN: np.ndarray) -> float:
    """By leaving out one network at a time, which moves the mean by 2 / (N - 2) of its own deviation."""
    n = len(agreement_NN)
    own_N = agreement_NN.sum(axis=1) / (n - 1)
    deviation_N = own_N - own_N.mean()
    return 2 / (n - 2) * math.sqrt((n - 1) / n * float(deviation_N @ deviation_N))


def _margin_of_one(n: int) -> float:
    """Student's t times the jackknife's error, 2 / (n + 1), of n networks in perfect order and one beside them.

    That one agrees with no other.
    """
    return -float(stdtrit(n - 1, _TAIL)) * 2 / (n + 1)


def _most(n: int) -> float:
    """Fisher's z of a perfect tau is infinite; this is taken for it, as if there were one more pair, a tie."""
    pairs = n * (n - 1) / 2
    return pairs / (pairs + 1)
