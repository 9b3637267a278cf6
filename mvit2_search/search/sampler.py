"""Which candidate comes next: an Optuna sampler whose proposals are drawn into the budget.

Latency hardly depends on anything but the architecture, so it can be guessed before anything is timed.
Of a space whose networks mostly exceed the budget, plain sampling would time dozens for every one that
can be trained. Here, a proposal over the budget is moved towards the space's cheapest network until it
should fit, and no architecture comes twice.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial

from mvit2_search.arch import ArchConfig
from mvit2_search.space import Axis, Choices, Params, SearchSpace

_DRAWS = 20
_BISECTIONS = 10
_FULLEST, _EMPTIEST = 0.98, 0.75  # of the budget, where a proposal that exceeds it is moved to
_MAX_POINTS = 20_000
_GUESS_ERROR = 1.1  # a network guessed to be this much over the budget may still be within

Cost = Callable[[ArchConfig], float]  # guessed latency as a share of the budget; above 1 is too much


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """The space in Optuna's terms, one entry per axis."""
    return {axis.name: _distribution(axis) for axis in space.axes}


def _distribution(axis: Axis) -> BaseDistribution:
    domain = axis.domain
    if isinstance(domain, Choices):
        return CategoricalDistribution(domain.values)
    if all(isinstance(v, int) for v in (domain.low, domain.high, domain.step)):
        return IntDistribution(int(domain.low), int(domain.high), step=int(domain.step or 1))
    return FloatDistribution(domain.low, domain.high, step=domain.step)


class Networks:
    """Every network of a small space, for telling when all have been tried."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        points = space.points(_MAX_POINTS)
        self.params: dict[str, Params] | None = None
        if points is not None:
            self.params = {}
            for params in points:
                self.params.setdefault(space.decode(params).key, params)
        corner = {axis.name: axis.domain.grid()[0] for axis in space.axes}
        self.cheapest = space.decode(space.towards_cheapest(corner, 0.0))

    def untried(self, tried: set[str], cost: Cost) -> list[Params] | None:
        """What is left that may fit, or None where the space is too large to tell."""
        if self.params is None:
            return None
        left = [params for key, params in self.params.items() if key not in tried]
        return [params for params in left if cost(self._space.decode(params)) <= _GUESS_ERROR]


class BudgetSampler(BaseSampler):
    """TPE over the whole space, its proposals drawn into the budget.

    Args:
        tried: keys that must not be proposed.
        cost: the guess at the cost of a network as a share of what is allowed.
        seed: proposals follow from it and from the trials so far.
    """

    def __init__(self, space: SearchSpace, networks: Networks, tried: set[str], cost: Cost, seed: int) -> None:
        self._space = space
        self._networks = networks
        self._tried = tried
        self._cost = cost
        self._seed = seed
        self._distributions = distributions(space)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        rng = np.random.default_rng([self._seed, self._sampled_before(study, trial)])
        with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
            base = TPESampler(multivariate=True, seed=int(rng.integers(2**31)))
        for _ in range(_DRAWS):
            params = self._drawn_into_budget(self._draw(base, study, trial), rng)
            if self._space.decode(params).key not in self._tried:
                return params
        left = self._networks.untried(self._tried, self._cost)
        return left[rng.integers(len(left))] if left else params

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise AssertionError(f"{param_name} is not an axis of the space")

    def _draw(self, base: BaseSampler, study: optuna.Study, trial: FrozenTrial) -> Params:
        """What the base sampler would try; it leaves axes out while it still samples at random."""
        params = base.sample_relative(study, trial, self._distributions)
        return {
            name: params[name] if name in params else base.sample_independent(study, trial, name, distribution)
            for name, distribution in self._distributions.items()
        }

    def _drawn_into_budget(self, params: Params, rng: np.random.Generator) -> Params:
        if self._cost(self._space.decode(params)) <= 1:
            return params
        limit = rng.uniform(_EMPTIEST, _FULLEST)
        fits, exceeds = 0.0, 1.0  # shares of the way from the cheapest network
        for _ in range(_BISECTIONS):
            middle = (fits + exceeds) / 2
            if self._cost(self._space.decode(self._space.towards_cheapest(params, middle))) <= limit:
                fits = middle
            else:
                exceeds = middle
        return self._space.towards_cheapest(params, fits)

    def _sampled_before(self, study: optuna.Study, trial: FrozenTrial) -> int:
        """Proposals so far: queued trials are none, nor are those that died without an architecture."""
        trials = study.get_trials(deepcopy=False)
        return sum(
            t.number < trial.number
            and "fixed_params" not in t.system_attrs
            and len(t.params) == len(self._space.axes)
            for t in trials
        )
