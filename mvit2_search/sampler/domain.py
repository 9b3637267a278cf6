"""What the front sampler knows: the networks to choose from, and the trials so far."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from mvit2_search.predict.guess import LatencyBounds

Params = Mapping[str, Any]
Score = Callable[[FrozenTrial], tuple[float, float] | None]
"""Accuracy and latency of a trial, or None if it has none."""


def all_values(params: Params) -> Hashable:
    """The key of a network if no two combinations of values give the same one."""
    return tuple(params.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class Domain:
    """Where to search.

    Attributes:
        latency: predicted or known latencies.
        limit_ms: the budget; a network that takes as long or longer gains nothing.
        key: equal for equal networks.
        cheapest: of a large space, the network that random ones are moved towards to fit a tight budget.
        remaining: all networks that are left, if they are few.
        measure: latency in ms of one network, if measuring is cheaper than training; may raise MeasurementError.
    """

    distributions: Mapping[str, BaseDistribution]
    latency: Callable[[Sequence[Params]], LatencyBounds]
    limit_ms: float
    key: Callable[[Params], Hashable] = all_values
    cheapest: Params | None = None
    remaining: Callable[[], Sequence[Params] | None] = lambda: None
    measure: Callable[[Params], float] | None = None

    def unseen(self, params: Sequence[Params], seen: Set[Hashable]) -> dict[Hashable, Params]:
        """Those whose keys are not in `seen`, each once, by key."""
        found = {self.key(one): one for one in params}
        return {key: one for key, one in found.items() if key not in seen}


def complete_score(trial: FrozenTrial) -> tuple[float, float] | None:
    """Accuracy and latency of a complete trial; None for others."""
    if trial.state != TrialState.COMPLETE:
        return None
    accuracy, latency = trial.values
    return accuracy, latency


def count_proposals(trials: Iterable[FrozenTrial], current: FrozenTrial, settings: Set[str]) -> int:
    """How many of the trials before `current` a sampler proposed, or is proposing.

    Not those that were enqueued, nor those that were killed before they had `settings`.
    """
    return sum(
        t.number < current.number
        and "fixed_params" not in t.system_attrs
        and (t.state == TrialState.RUNNING or settings <= t.params.keys())
        for t in trials
    )


@dataclass(frozen=True, slots=True)
class History:
    """Trained networks (shape N), running ones, the keys of all proposed so far, and `count_proposals`."""

    params: list[Params]
    accuracy_N: np.ndarray
    latency_N: np.ndarray
    running: list[Params]
    seen: set[Hashable]
    proposals: int

    @classmethod
    def of(
        cls, study: optuna.Study, current: FrozenTrial, domain: Domain, score: Score, asked: Mapping[int, Params]
    ) -> Self:
        """The history of `study` before the trial `current`.

        Args:
            asked: settings, by trial number, that this process has proposed; the study may not hold them yet.
        """
        names = domain.distributions.keys()
        others = [t for t in study.get_trials(deepcopy=False) if t.number != current.number]
        whole = [(t, {name: t.params[name] for name in names}) for t in others if names <= t.params.keys()]
        scored = [(params, found) for t, params in whole if (found := score(t)) is not None]
        running = [params for t, params in whole if t.state == TrialState.RUNNING]
        begun = {t.number for t in others if t.state == TrialState.RUNNING and not names <= t.params.keys()}
        asked_now = [asked[number] for number in sorted(begun & asked.keys())]
        return cls(
            params=[params for params, _ in scored],
            accuracy_N=np.array([accuracy for _, (accuracy, _) in scored]),
            latency_N=np.array([latency for _, (_, latency) in scored]),
            running=[*running, *asked_now],
            seen={domain.key(params) for params in [*(params for _, params in whole), *asked_now]},
            proposals=count_proposals(others, current, names),
        )
