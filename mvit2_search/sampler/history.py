"""What a study has found out, as the sampler reads it."""

from collections.abc import Callable, Hashable, Iterable, Set
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


def whole_trials(study: optuna.Study, current: FrozenTrial, settings: Set[str]) -> list[FrozenTrial]:
    """All trials but `current` that have `settings`: one that died before it was given any is none."""
    return [
        t for t in study.get_trials(deepcopy=False) if t.number != current.number and settings <= t.params.keys()
    ]


def count_proposals(trials: Iterable[FrozenTrial]) -> int:
    """How many of them a sampler has proposed: those that were queued are not among them."""
    return sum("fixed_params" not in t.system_attrs for t in trials)


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
    def of(cls, study: optuna.Study, current: FrozenTrial, domain: Domain, score: Score) -> Self:
        """That of `study` before the trial `current`."""
        names = domain.distributions.keys()
        trials = whole_trials(study, current, names)
        whole = [(t, {name: t.params[name] for name in names}) for t in trials]
        scored = [(params, found) for t, params in whole if (found := score(t)) is not None]
        return cls(
            params=[params for params, _ in scored],
            accuracy_N=np.array([accuracy for _, (accuracy, _) in scored]),
            latency_N=np.array([latency for _, (_, latency) in scored]),
            running=[params for t, params in whole if t.state == TrialState.RUNNING],
            seen={domain.key(params) for _, params in whole},
            proposals=count_proposals(trials),
        )
