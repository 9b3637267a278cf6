"""Pareto fronts of accuracy against latency, and their hypervolume."""

from collections.abc import Sequence

import numpy as np

from mvit2_search.records import Finished, Limits, Trial

Values = Sequence[float] | np.ndarray


def pareto_front(trials: Sequence[Trial], limits: Limits) -> list[Trial]:
    """The finished trials within the limits that no other of them dominates."""
    scored = [(t, t.outcome) for t in trials if isinstance(t.outcome, Finished) and limits.allow_trial(t)]
    mask = front_mask([o.score for _, o in scored], [o.latency.latency_ms for _, o in scored])
    return [trial for (trial, _), on_front in zip(scored, mask, strict=True) if on_front]


def front_mask(accuracy: Values, latency: Values) -> np.ndarray:
    """Whether each point is on the front: no other is at least as accurate, at least as fast, and better in one.

    Equal points are on the front together.
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


def front_ranks(accuracy: Values, latency: Values) -> np.ndarray:
    """Non-dominated sorting: 0 for the front, 1 for the front of the rest, and so on."""
    gain, cost = np.asarray(accuracy, float), np.asarray(latency, float)
    ranks = np.full(len(gain), -1)
    while (left := np.flatnonzero(ranks < 0)).size:
        ranks[left[front_mask(gain[left], cost[left])]] = ranks.max() + 1
    return ranks


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
