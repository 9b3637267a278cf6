"""The networks of a search space: their settings as Optuna distributions, their costs, and which are untried."""

from collections.abc import Container, Mapping
from functools import lru_cache

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from mvit2_search.arch.head import Head
from mvit2_search.predict.guess import Guess, Network
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
