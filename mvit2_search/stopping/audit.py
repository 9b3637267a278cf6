"""How often a stopping rule would have been wrong, by the trainings that went to their end all the same."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import betaincinv

from mvit2_search.stopping import Audit
from mvit2_search.stopping.bound import regression
from mvit2_search.stopping.curves import Curve

_TAIL = 0.025  # on either side


def audit(finished: Sequence[Curve], *, confidence: float, most_missed: float) -> Audit:
    """Judge each training by all the others, after every epoch, as if it had come last.

    Args:
        finished: trained to their end, of equally many epochs.
        confidence: of one bound.
        most_missed: the rule may stop trainings while the interval of the miss rate ends at or below this.
    """
    would_N, missed_N = _judged(finished, confidence) if finished else (np.zeros(0, bool), np.zeros(0, bool))
    audited, missed = int(would_N.sum()), int(missed_N.sum())
    low, high = proportion_interval(missed, audited)
    return Audit(audited=audited, missed=missed, low=low, high=high, most_missed=most_missed)


def proportion_interval(hits: int, count: int) -> tuple[float, float]:
    """Clopper and Pearson's 95 % interval."""
    low = float(betaincinv(hits, count - hits + 1, _TAIL)) if hits else 0.0
    high = float(betaincinv(hits + 1, count - hits, 1 - _TAIL)) if hits < count else 1.0
    return low, high


def _judged(finished: Sequence[Curve], confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Which of the N trainings would have been stopped, and which of those end above their bound."""
    curves_NE = np.array([curve.scores for curve in finished])
    last_N, rival_N = curves_NE[:, -1], rivals(finished)
    would_N, missed_N = np.zeros((2, len(finished)), bool)
    for epoch in range(1, curves_NE.shape[1]):
        middle, sizes = curves_NE[:, :epoch].mean(0), [curve.size for curve in finished]
        if found := regression(middle.tolist(), curves_NE, sizes[0], sizes):
            bound_N = last_N - found.left_out + found.left_out_margins(confidence)
            stops_N = bound_N <= rival_N
            would_N |= stops_N
            missed_N |= stops_N & (last_N > bound_N)
    return would_N, missed_N


def rivals(finished: Sequence[Curve]) -> np.ndarray:
    """For each training, `best_rival` among the others."""
    return np.array([best_rival(one, [*finished[:i], *finished[i + 1 :]]) for i, one in enumerate(finished)])


def best_rival(candidate: Curve, finished: Sequence[Curve]) -> float:
    """The best last score of the allowed networks that are at least as fast; -inf where there are none."""
    as_fast = (c.scores[-1] for c in finished if c.allowed and c.latency_ms <= candidate.latency_ms)
    return max(as_fast, default=-math.inf)
