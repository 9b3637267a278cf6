"""Selection bias (the winner's curse): how much the best of several is overestimated by the scores that chose it.

A score is a true level plus noise, and the best score is partly best by its noise. How large that part is on
average depends on how far apart the true levels are: of two far apart, noise hardly ever decides; of two equal
ones, always.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr  # scipy.stats takes a second to import

_NOISE_U = np.linspace(-8, 8, 401)  # in standard deviations
_WEIGHT_U = np.exp(-(_NOISE_U**2) / 2) / np.sqrt(2 * np.pi) * (_NOISE_U[1] - _NOISE_U[0])


def selection_bias(levels: Sequence[float], *, error: float, freedom: int, over: int | None = None) -> float:
    """The expected noise of the best of `levels`, in their unit.

    The true levels are unknown and estimated by shrinkage (empirical Bayes, positive part): each of `levels` moves
    towards their mean as far as noise alone explains how they differ, all the way if it explains everything.

    >>> round(selection_bias([80.0, 80.0], error=1.0, freedom=100), 4)  # 1 / sqrt(pi)
    0.5642
    >>> round(selection_bias([80.0, 90.0], error=1.0, freedom=100), 4)
    0.0

    Args:
        error: standard error of one level; 0 if unknown, and then the bias is 0 too.
        freedom: its degrees of freedom.
        over: index of a level that is not the best: gives the bias of the lead over it. That this one was not
            chosen is partly noise too.
    """
    if len(levels) < 2 or error <= 0:
        return 0.0
    deviation_K = (np.asarray(levels) - np.mean(levels)) / error
    variance = float(deviation_K @ deviation_K) / (len(levels) - 1)
    noise_variance = freedom / (freedom - 2) if freedom > 2 else np.inf  # expected if all true levels are equal
    kept = 1 - noise_variance / variance if variance > noise_variance else 0.0
    noise, chance_K = _noise_of_best(kept * deviation_K)
    return error * noise / (1 if over is None else 1 - chance_K[over])  # the noise of `over` is 0 on average


def _noise_of_best(true_K: np.ndarray) -> tuple[float, np.ndarray]:
    """Of levels plus standard normal noise: the expected noise of the highest, and each one's chance to be it."""
    lead_KK = true_K[:, None] - true_K
    beaten_KKU = ndtr(lead_KK[:, :, None] + _NOISE_U)
    beaten_KKU[np.diag_indices(len(true_K))] = 1.0
    highest_KU = beaten_KKU.prod(axis=1) * _WEIGHT_U
    return float((highest_KU @ _NOISE_U).sum()), highest_KU.sum(axis=1)
