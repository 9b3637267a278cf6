"""Fronts of accuracy against latency."""

from collections.abc import Sequence

import numpy as np


def front_mask(accuracy: Sequence[float] | np.ndarray, latency: Sequence[float] | np.ndarray) -> np.ndarray:
    """Which points no other point dominates: at least as accurate, at least as fast, and better in one.

    Equal points are on the front together.

    Returns:
        bool array, one entry per point.
    """
    gain, cost = np.asarray(accuracy, float), np.asarray(latency, float)
    order = np.lexsort((-gain, cost))  # fastest first; of the equally fast, the most accurate first
    gain, cost = gain[order], cost[order]
    best_before = np.maximum.accumulate(np.r_[-np.inf, gain])[:-1]
    is_new = np.r_[True, (np.diff(gain) != 0) | (np.diff(cost) != 0)][: len(gain)]
    first_of_equals = np.maximum.accumulate(np.where(is_new, np.arange(len(gain)), 0))
    mask = np.zeros(len(gain), bool)
    mask[order] = (gain > best_before)[first_of_equals]
    return mask


def hypervolume(accuracy: Sequence[float], latency: Sequence[float], *, reference: tuple[float, float]) -> float:
    """The area between a reference (accuracy, latency) and what is reached by the points that beat it in both.

    Exact, in units of accuracy times latency.
    """
    gain, cost = np.asarray(accuracy, float), np.asarray(latency, float)
    inside = (gain > reference[0]) & (cost < reference[1])
    order = np.argsort(cost[inside], kind="stable")
    heights = np.maximum.accumulate(gain[inside][order]) - reference[0]
    widths = np.diff(cost[inside][order], append=reference[1])  # each step is as wide as it is to the next
    return float(heights @ widths)


def hypervolume_curve(
    accuracy: Sequence[float], latency: Sequence[float], *, reference: tuple[float, float]
) -> list[float]:
    """The hypervolume of the first point, of the first two, and so on to all of them."""
    front: list[tuple[float, float]] = []
    values, value = [], 0.0
    for gain, cost in zip(accuracy, latency, strict=True):
        if not any(g >= gain and c <= cost for g, c in front):
            front = [(g, c) for g, c in front if g > gain or c < cost] + [(gain, cost)]
            value = hypervolume(*zip(*front, strict=True), reference=reference)
        values.append(value)
    return values
