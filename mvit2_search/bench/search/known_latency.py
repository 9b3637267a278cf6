"""What knowing the latency is worth to any sampler: proposals that cannot pay are drawn again, at no charge."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from mvit2_search.bench.search.problems import Params, Point, Problem

_RANDOM = 1_000  # settings that are drawn where settings are not finite and every proposal was refused
_NEAREST, _LEAST = 15, 8
_DEVIATIONS = 2


def hopeless(latency: float, done: Sequence[Point], *, reference: Point) -> bool:
    """Whether nothing at this latency can be expected to improve the front of `done`.

    It is not faster than the reference; or what has been evaluated and is at least as fast is already as accurate
    as this could be, read with optimism: mean and two standard deviations of the 15 evaluated that are nearest in
    latency, of those beyond the reference. With fewer than 8 of them nothing is ruled out so.
    """
    if latency >= reference[1]:
        return True
    accuracy_N, latency_N = np.array([point for point in done if point[0] > reference[0]]).reshape(-1, 2).T
    if len(accuracy_N) < _LEAST:
        return False
    near = accuracy_N[np.argsort(np.abs(latency_N - latency), kind="stable")[:_NEAREST]]
    reached = accuracy_N[latency_N <= latency].max(initial=-np.inf)
    return bool(reached >= near.mean() + _DEVIATIONS * near.std(ddof=1))


class KnownLatency(BaseSampler):
    """A sampler whose proposals are refused when they are evaluated already, or hopeless at their latency.

    Args:
        draws: how often `base` is asked for one evaluation; then settings are drawn at random, of finite ones from
            those that would not be refused, or else from those that have not been evaluated.
    """

    def __init__(self, base: BaseSampler, problem: Problem, *, draws: int, seed: int) -> None:
        self._base = base
        self._problem = problem
        self._draws = draws
        self._rng = np.random.default_rng(seed)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._problem.distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> Params:
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        seen = {self._key(t.params) for t in finished}
        done: list[Point] = [(t.values[0], t.values[1]) for t in finished]
        proposals = (self._draw(self._base, study, trial) for _ in range(self._draws))
        if (found := self._first(proposals, seen, done)) is not None:
            return found
        if self._problem.points is None:
            drawn = (self._random() for _ in range(_RANDOM))
        else:
            drawn = (self._problem.points[i] for i in self._rng.permutation(len(self._problem.points)))
        found = self._first(drawn, seen, done)
        return found if found is not None else self._unseen(seen)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise AssertionError(f"{param_name} is not an axis of the problem")

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._base.before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._base.after_trial(study, trial, state, values)

    def _first(self, proposals: Iterable[Params], seen: set[Any], done: list[Point]) -> Params | None:
        """The first that is not refused."""
        reference, latency = self._problem.reference, self._problem.latency
        for params in proposals:
            if self._key(params) not in seen and not hopeless(latency(params), done, reference=reference):
                return params
        return None

    def _unseen(self, seen: set[Any]) -> Params:
        """Anything, but not again while something is left."""
        points = self._problem.points
        if points is None:
            return self._random()
        left = [params for params in points if self._key(params) not in seen] or points
        return left[self._rng.integers(len(left))]

    def _random(self) -> Params:
        """Uniform settings."""
        return {axis: self._rng.uniform(0, 1) for axis in self._problem.distributions}

    def _draw(self, base: BaseSampler, study: optuna.Study, trial: FrozenTrial) -> Params:
        """What a sampler would try; it leaves axes out while, or where, it draws them one by one."""
        space = base.infer_relative_search_space(study, trial)
        params = base.sample_relative(study, trial, space)
        return {
            axis: params[axis] if axis in params else base.sample_independent(study, trial, axis, distribution)
            for axis, distribution in self._problem.distributions.items()
        }

    def _key(self, params: Params) -> tuple[Any, ...]:
        return tuple(params[axis] for axis in self._problem.distributions)
