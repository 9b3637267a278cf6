"""How much too high the best of several looks, because it was chosen by the same scores.

The score of whatever comes out best is its true level and its noise, and it came out best partly for its noise.
How large that part is on average follows from how far apart the true levels are, and those are not known: of two
that are far apart the better one is hardly ever chosen by chance, of two equal ones always.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr  # scipy.stats takes a second to import

_NOISE_U = np.linspace(-8, 8, 401)  # in standard deviations
_WEIGHT_U = np.exp(-(_NOISE_U**2) / 2) / np.sqrt(2 * np.pi) * (_NOISE_U[1] - _NOISE_U[0])


def choice_bias(levels: Sequence[float], *, error: float, freedom: int, over: int | None = None) -> float:
    """The noise that the best of `levels` has on average, in their unit.

    The true levels are taken to lie around the mean like `levels`, but nearer to it: as much nearer as noise alone
    accounts for, and all at the mean where noise accounts for all of what sets `levels` apart.

    >>> round(choice_bias([80.0, 80.0], error=1.0, freedom=100), 4)  # 1 / sqrt(pi)
    0.5642
    >>> round(choice_bias([80.0, 90.0], error=1.0, freedom=100), 4)
    0.0

    Args:
        error: standard deviation of one level's noise; 0 where it is not known, and then the bias is 0 too.
        freedom: its degrees of freedom.
        over: the place of one that is not the best: then of the difference of the two. That it did not come out
            best is partly its noise, too.
    """
    if len(levels) < 2 or error <= 0:
        return 0.0
    apart_K = (np.asarray(levels) - np.mean(levels)) / error
    squares = float(apart_K @ apart_K) / (len(levels) - 1)
    by_noise = freedom / (freedom - 2) if freedom > 2 else np.inf  # what `squares` is on average of equal ones
    kept = 1 - by_noise / squares if squares > by_noise else 0.0
    noise, chance_K = _best(kept * apart_K)
    return error * noise / (1 if over is None else 1 - chance_K[over])  # the noise of `over` is 0 on average


def _best(true_K: np.ndarray) -> tuple[float, np.ndarray]:
    """Where noise of deviation 1 is added: the expected noise of what comes out highest, and each one's chance."""
    lead_KK = true_K[:, None] - true_K
    beaten_KKU = ndtr(lead_KK[:, :, None] + _NOISE_U)
    beaten_KKU[np.diag_indices(len(true_K))] = 1.0
    highest_KU = beaten_KKU.prod(axis=1) * _WEIGHT_U
    return float((highest_KU @ _NOISE_U).sum()), highest_KU.sum(axis=1)
