"""What a study has found out, as the sampler reads it."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Self

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from mvit2_search.sampler.domain import Domain, Params

Score = Callable[[FrozenTrial], tuple[float, float] | None]


def told(trial: FrozenTrial) -> tuple[float, float] | None:
    """Accuracy and latency of a complete trial; None of others."""
    if trial.state != TrialState.COMPLETE:
        return None
    accuracy, latency = trial.values
    return accuracy, latency


def count_proposals(trials: Iterable[FrozenTrial], current: FrozenTrial, settings: Set[str]) -> int:
    """How many of `trials` a sampler proposed, or is proposing, before `current`: those that were queued are none,
    nor are those that died before they had `settings`."""
    return sum(
        t.number < current.number
        and "fixed_params" not in t.system_attrs
        and (t.state == TrialState.RUNNING or settings <= t.params.keys())
        for t in trials
    )


@dataclass(frozen=True, slots=True)
class History:
    """Trained networks (shape N), those that run now, and the keys of all that were ever proposed.

    `proposals` were made by a sampler; see `count_proposals`.
    """

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
        """That of `study` for the trial `current`.

        Args:
            asked: settings by number of trials that the study may not hold yet.
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
            seen={domain.key(params) for _, params in whole} | {domain.key(params) for params in asked_now},
            proposals=count_proposals(others, current, names),
        )
