"""Pareto fronts of accuracy against latency."""

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
