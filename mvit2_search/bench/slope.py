"""How fast one quantity grows with another, as a power."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

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
