"""Fronts of accuracy against latency."""

from collections.abc import Sequence

import numpy as np


def front_mask(accuracy: Sequence[float], latency: Sequence[float]) -> np.ndarray:
    """Which points no other point dominates: at least as accurate, at least as fast, and better in one.

    Equal points are on the front together.

    Returns:
        bool array, one entry per point.
    """
    gain, cost = np.asarray(accuracy, float), np.asarray(latency, float)
    mask = np.zeros(len(gain), bool)
    best = (-np.inf, np.nan)  # accuracy and latency of the last front member
    for i in np.lexsort((-gain, cost)):  # fastest first; of the equally fast, the most accurate first
        if gain[i] > best[0] or (gain[i], cost[i]) == best:
            mask[i] = True
            best = (gain[i], cost[i])
    return mask


def hypervolume(accuracy: Sequence[float], latency: Sequence[float], *, reference: tuple[float, float]) -> float:
    """The area that the points dominate, up to a reference (accuracy, latency); points beyond it count nothing."""
    least, slowest = reference
    latency_N = np.minimum(np.asarray(latency, float), slowest)
    height_N = np.maximum(np.asarray(accuracy, float) - least, 0)
    order = np.argsort(latency_N)
    widths_N = np.diff(latency_N[order], append=slowest)
    return float(np.maximum.accumulate(height_N[order]) @ widths_N)
