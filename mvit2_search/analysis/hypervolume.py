"""The hypervolume of points of accuracy against latency."""

from collections.abc import Sequence

import numpy as np


def hypervolume(accuracy: Sequence[float], latency: Sequence[float], *, reference: tuple[float, float]) -> float:
    """The area between a reference (accuracy, latency) and the points that beat it in both.

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
