"""Any sampler, told the latency: a proposal that can hardly pay off is drawn again, for free."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState
from sampler_bench.problems import Params, Point, Problem, ProblemSampler

_NEAREST, _LEAST = 15, 8
_DEVIATIONS = 2


def hopeless(latency: float, done: Sequence[Point], *, worst: float) -> bool:
    """Whether no network with this latency can be expected to improve the front of `done`.

    That is so if one that is at least as fast has reached the optimistic accuracy: mean plus two standard
    deviations of the 15 evaluated networks nearest in latency, counting only those more accurate than `worst`.
    With fewer than 8 of them nothing is ruled out.
    """
    accuracy_N, latency_N = np.array([point for point in done if point[0] > worst]).reshape(-1, 2).T
    if len(accuracy_N) < _LEAST:
        return False
    near = accuracy_N[np.argsort(np.abs(latency_N - latency), kind="stable")[:_NEAREST]]
    reached = accuracy_N[latency_N <= latency].max(initial=-np.inf)
    return bool(reached >= near.mean() + _DEVIATIONS * near.std(ddof=1))


class KnownLatency(ProblemSampler):
    """Asks `base` again if its proposal was evaluated, is no faster than the reference, or is hopeless.

    Hopeless is an estimate, so a sampler that insists has its way: if all of `draws` proposals are refused, the
    first hopeless one is evaluated. If all were evaluated before or too slow, random settings are.

    Args:
        draws: how often `base` is asked for one evaluation.
    """

    def __init__(self, base: BaseSampler, problem: Problem, *, draws: int, seed: int) -> None:
        super().__init__(problem, seed=seed)
        self._base = base
        self._draws = draws

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: Any) -> Params:
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        seen = {self._problem.key(t.params) for t in finished}
        done: list[Point] = [(t.values[0], t.values[1]) for t in finished]
        first_hopeless = None
        for _ in range(self._draws):
            params = self._draw(study, trial)
            if self._is_useless(params, seen):
                continue
            if not self._is_hopeless(params, done):
                return params
            first_hopeless = first_hopeless or params
        return first_hopeless or self._random(seen, done)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._base.before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._base.after_trial(study, trial, state, values)

    def _is_useless(self, params: Params, seen: set[Any]) -> bool:
        return self._problem.key(params) in seen or self._problem.latency(params) >= self._problem.reference[1]

    def _is_hopeless(self, params: Params, done: list[Point]) -> bool:
        return hopeless(self._problem.latency(params), done, worst=self._problem.reference[0])

    def _random(self, seen: set[Any], done: list[Point]) -> Params:
        """Of a table: settings that would not be refused, else not useless ones, else new ones, else any."""
        points = self._problem.points
        if points is None:
            return {axis: self._rng.uniform(0, 1) for axis in self._problem.distributions}
        drawn = [points[i] for i in self._rng.permutation(len(points))]
        new = [params for params in drawn if self._problem.key(params) not in seen] or drawn
        useful = [params for params in new if not self._is_useless(params, seen)] or new
        return next((params for params in useful if not self._is_hopeless(params, done)), useful[0])

    def _draw(self, study: optuna.Study, trial: FrozenTrial) -> Params:
        """A proposal of `base`, which may leave out settings to draw them one by one."""
        space = self._base.infer_relative_search_space(study, trial)
        params = self._base.sample_relative(study, trial, space)
        return {
            axis: params[axis]
            if axis in params
            else self._base.sample_independent(study, trial, axis, distribution)
            for axis, distribution in self._problem.distributions.items()
        }
