"""Optuna's samplers under a latency budget: proposals are moved into it, and no network is proposed twice.

If most networks of a space exceed the budget, plain sampling would time dozens for every one that can be trained.
Latency can be guessed from the architecture, so a proposal over the budget is moved towards the cheapest network
of the space until it should fit.
"""

import warnings
from collections.abc import Callable, Collection, Container, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from mvit2_search.arch.head import Head
from mvit2_search.predict.guess import Guess, Network
from mvit2_search.sampler.domain import count_proposals
from mvit2_search.space import Axis, Choices, Params, SearchSpace, Value

_MAX_POINTS = 20_000  # of a space that is small enough to be listed
_GUESS_ERROR = 1.1  # a network guessed to be this much over the budget may still be within it
_CACHED = 100_000


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """One Optuna distribution per axis."""
    return {axis.name: _distribution(axis) for axis in space.axes}


def _distribution(axis: Axis) -> BaseDistribution:
    domain = axis.domain
    if isinstance(domain, Choices):
        return CategoricalDistribution(domain.values)
    if all(isinstance(v, int) for v in (domain.low, domain.high, domain.step)):
        return IntDistribution(int(domain.low), int(domain.high), step=int(domain.step or 1))
    return FloatDistribution(domain.low, domain.high, step=domain.step)


class Networks:
    """The networks of a space and their costs; all of them if the space is small."""

    def __init__(self, space: SearchSpace, head: Head) -> None:
        self.space = space
        self.cheapest = space.decode(space.lowest)
        names = [axis.name for axis in space.axes]

        @lru_cache(maxsize=_CACHED)
        def network(values: tuple[Value, ...]) -> Network:
            return Network(space.decode(dict(zip(names, values, strict=True))), head)

        self._names, self._network = names, network
        points = space.points(_MAX_POINTS)
        self._all = None if points is None else {self.of(params).key: params for params in points}

    def of(self, params: Mapping[str, Value]) -> Network:
        """The network with these settings."""
        return self._network(tuple(params[name] for name in self._names))

    def untried(self, tried: Container[str], guess: Guess) -> list[Params] | None:
        """The settings that are left and may fit the budget, or None if the space is too large to list."""
        if self._all is None:
            return None
        left = [params for key, params in self._all.items() if key not in tried]
        return [params for params in left if guess.share_of_limits(self.of(params).cost) <= _GUESS_ERROR]


_DRAWS, _BASE_DRAWS = 20, 4  # tries for an untried network, of which the first with the base sampler
_BISECTIONS = 10
_FULLEST, _EMPTIEST = 0.98, 0.75  # shares of the budget that a proposal over it is moved to

OPTUNA_SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "tpe": lambda seed: TPESampler(multivariate=True, seed=seed),
    "nsga2": lambda seed: NSGAIISampler(seed=seed),
    "gp": lambda seed: GPSampler(seed=seed),
    "random": lambda seed: RandomSampler(seed=seed),
}


class BudgetSampler(BaseSampler):
    """One of `OPTUNA_SAMPLERS` over the whole space, with its proposals moved into the budget.

    Args:
        tried: keys that must not be proposed, besides those of running trials.
        seed: proposals depend on it and on the trials so far only.
    """

    def __init__(self, networks: Networks, *, base: str, tried: Collection[str], guess: Guess, seed: int) -> None:
        self._base = OPTUNA_SAMPLERS[base]
        self._networks, self._tried, self._guess, self._seed = networks, tried, guess, seed
        self._distributions = distributions(networks.space)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        trials = study.get_trials(deepcopy=False)
        names = self._distributions.keys()
        running = [t for t in trials if t.state == TrialState.RUNNING and t.params.keys() >= names]
        taken = {*self._tried, *(self._networks.of(t.params).key for t in running)}
        proposals = count_proposals(trials, trial, names)
        rng = np.random.default_rng([self._seed, proposals])
        with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
            base = self._base(int(rng.integers(2**31)))
        uniform = RandomSampler(seed=int(rng.integers(2**31)))
        for i in range(_DRAWS):
            sampler = base if i < _BASE_DRAWS else uniform  # the base may have converged to tried networks
            params = self._move_into_budget(self._draw(sampler, study, trial), rng)
            if self._networks.of(params).key not in taken:
                return params
        left = self._networks.untried(taken, self._guess)
        return left[rng.integers(len(left))] if left else params

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise AssertionError(f"{param_name} is not an axis of the space")

    def _draw(self, sampler: BaseSampler, study: optuna.Study, trial: FrozenTrial) -> Params:
        """A proposal of the sampler, which leaves axes out while it still samples at random."""
        params = sampler.sample_relative(study, trial, self._distributions)
        return {
            name: params[name] if name in params else sampler.sample_independent(study, trial, name, distribution)
            for name, distribution in self._distributions.items()
        }

    def _move_into_budget(self, params: Params, rng: np.random.Generator) -> Params:
        if self._share_of_budget(params) <= 1:
            return params
        limit = rng.uniform(_EMPTIEST, _FULLEST)
        space, fits, exceeds = self._networks.space, 0.0, 1.0  # shares of the way from the cheapest network
        for _ in range(_BISECTIONS):
            middle = (fits + exceeds) / 2
            if self._share_of_budget(space.towards_cheapest(params, middle)) <= limit:
                fits = middle
            else:
                exceeds = middle
        return space.towards_cheapest(params, fits)

    def _share_of_budget(self, params: Params) -> float:
        return self._guess.share_of_limits(self._networks.of(params).cost)
