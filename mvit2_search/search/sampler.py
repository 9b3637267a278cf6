"""Which candidate comes next: an Optuna sampler whose proposals are drawn into the budget.

Latency hardly depends on anything but the architecture, so it can be guessed before anything is timed.
Of a space whose networks mostly exceed the budget, plain sampling would time dozens for every one that
can be trained. Here, a proposal over the budget is moved towards the space's cheapest network until it
should fit, and no architecture comes twice.
"""

import warnings
from collections.abc import Container
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
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from mvit2_search.complexity import Cost, network_cost
from mvit2_search.search.forecast import Guess
from mvit2_search.space import Axis, Choices, Params, SearchSpace

_DRAWS, _TPE_DRAWS = 20, 4
_BISECTIONS = 10
_FULLEST, _EMPTIEST = 0.98, 0.75  # of the budget, where a proposal that exceeds it is moved to
_MAX_POINTS = 20_000
_GUESS_ERROR = 1.1  # a network guessed to be this much over the budget may still be within


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
    """The networks of a space and their costs; of a small one all, to tell when they have been tried."""

    def __init__(self, space: SearchSpace, num_classes: int) -> None:
        self.space = space
        self._num_classes = num_classes
        self.cheapest = space.decode(space.lowest)
        points = space.points(_MAX_POINTS)
        self._all: dict[str, tuple[Params, Cost]] | None = None
        if points is not None:
            archs = ((params, space.decode(params)) for params in points)
            self._all = {arch.key: (params, network_cost(arch, num_classes)) for params, arch in archs}

    def cost(self, params: Params) -> Cost:
        """What the network of `params` costs."""
        return network_cost(self.space.decode(params), self._num_classes)

    def untried(self, tried: Container[str], guess: Guess) -> list[Params] | None:
        """What is left that may fit, or None where the space is too large to tell."""
        if self._all is None:
            return None
        left = [entry for key, entry in self._all.items() if key not in tried]
        return [params for params, cost in left if guess.share(cost) <= _GUESS_ERROR]


class BudgetSampler(BaseSampler):
    """TPE over the whole space, its proposals drawn into the budget.

    Args:
        tried: keys that must not be proposed.
        seed: proposals follow from it and from the trials so far.
    """

    def __init__(self, networks: Networks, *, tried: Container[str], guess: Guess, seed: int) -> None:
        self._space = networks.space
        self._networks = networks
        self._tried = tried
        self._guess = guess
        self._seed = seed
        self._distributions = distributions(self._space)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        rng = np.random.default_rng([self._seed, self._sampled_before(study, trial)])
        with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
            tpe = TPESampler(multivariate=True, seed=int(rng.integers(2**31)))
        uniform = RandomSampler(seed=int(rng.integers(2**31)))
        for i in range(_DRAWS):
            base = tpe if i < _TPE_DRAWS else uniform  # which has not settled on what has been tried
            params = self._drawn_into_budget(self._draw(base, study, trial), rng)
            if self._space.decode(params).key not in self._tried:
                return params
        left = self._networks.untried(self._tried, self._guess)
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
        if self._share(params) <= 1:
            return params
        limit = rng.uniform(_EMPTIEST, _FULLEST)
        fits, exceeds = 0.0, 1.0  # shares of the way from the cheapest network
        for _ in range(_BISECTIONS):
            middle = (fits + exceeds) / 2
            if self._share(self._space.towards_cheapest(params, middle)) <= limit:
                fits = middle
            else:
                exceeds = middle
        return self._space.towards_cheapest(params, fits)

    def _share(self, params: Params) -> float:
        return self._guess.share(self._networks.cost(params))

    def _sampled_before(self, study: optuna.Study, trial: FrozenTrial) -> int:
        """Proposals so far: queued trials are none, nor are those that died without an architecture."""
        trials = study.get_trials(deepcopy=False)
        return sum(
            t.number < trial.number
            and "fixed_params" not in t.system_attrs
            and len(t.params) == len(self._space.axes)
            for t in trials
        )
