"""What knowing the latency is worth to any sampler: for what can hardly pay it is asked again, at no charge."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState
from sampler_bench.problems import Params, Point, Problem

_NEAREST, _LEAST = 15, 8
_DEVIATIONS = 2


def hopeless(latency: float, done: Sequence[Point], *, worst: float) -> bool:
    """Whether nothing at this latency can be expected to improve the front of `done`.

    What has been evaluated and is at least as fast is already as accurate as this could be, read with optimism:
    mean and two standard deviations of the 15 evaluated that are nearest in latency, of those that are more
    accurate than `worst`. With fewer than 8 of them nothing is ruled out.
    """
    accuracy_N, latency_N = np.array([point for point in done if point[0] > worst]).reshape(-1, 2).T
    if len(accuracy_N) < _LEAST:
        return False
    near = accuracy_N[np.argsort(np.abs(latency_N - latency), kind="stable")[:_NEAREST]]
    reached = accuracy_N[latency_N <= latency].max(initial=-np.inf)
    return bool(reached >= near.mean() + _DEVIATIONS * near.std(ddof=1))


class KnownLatency(BaseSampler):
    """A sampler that is asked again if its proposal has been evaluated, is no faster than the reference, or is
    hopeless at its latency.

    The last is an estimate, so a sampler that insists has its way: if nothing better comes in `draws` proposals,
    the first hopeless one is evaluated. If all of them were evaluated or too slow, random settings are.

    Args:
        draws: how often `base` is asked for one evaluation.
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
        doubtful = None
        for _ in range(self._draws):
            params = self._draw(self._base, study, trial)
            if self._is_useless(params, seen):
                continue
            if not self._is_hopeless(params, done):
                return params
            doubtful = doubtful or params
        return doubtful or self._random(seen, done)

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

    def _is_useless(self, params: Params, seen: set[Any]) -> bool:
        return self._key(params) in seen or self._problem.latency(params) >= self._problem.reference[1]

    def _is_hopeless(self, params: Params, done: list[Point]) -> bool:
        return hopeless(self._problem.latency(params), done, worst=self._problem.reference[0])

    def _random(self, seen: set[Any], done: list[Point]) -> Params:
        """Of finite settings what would not be refused, else what is not useless, else what is new, else any."""
        points = self._problem.points
        if points is None:
            return {axis: self._rng.uniform(0, 1) for axis in self._problem.distributions}
        drawn = [points[i] for i in self._rng.permutation(len(points))]
        new = [params for params in drawn if self._key(params) not in seen] or drawn
        useful = [params for params in new if not self._is_useless(params, seen)] or new
        return next((params for params in useful if not self._is_hopeless(params, done)), useful[0])

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
