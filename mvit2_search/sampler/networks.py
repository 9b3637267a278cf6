"""The networks of a space: their settings in Optuna's terms, their costs, and which are left."""

from collections.abc import Container, Hashable, Mapping

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from mvit2_search.arch.cost import Cost
from mvit2_search.predict.guess import Guess, Network
from mvit2_search.space import Axis, Choices, Params, SearchSpace
from mvit2_search.space.axes import Value

_MAX_POINTS = 20_000
_GUESS_ERROR = 1.1  # a network guessed to be this much over the budget may still be within
_KEPT = 50_000  # networks whose costs are kept, and as many of before


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
        self._kept: dict[Hashable, Network] = {}
        self._before: dict[Hashable, Network] = {}
        self.cheapest = space.decode(space.lowest)
        points = space.points(_MAX_POINTS)
        self._all: dict[str, tuple[Params, Cost]] | None = None
        if points is not None:
            self._all = {self.of(params).key: (params, self.of(params).cost) for params in points}

    def of(self, params: Mapping[str, Value]) -> Network:
        """The network that `params` stand for."""
        values = tuple(params[axis.name] for axis in self.space.axes)
        if values not in self._kept:
            if len(self._kept) == _KEPT:
                self._kept, self._before = {}, self._kept
            self._kept[values] = self._before.get(values) or Network(self.space.decode(params), self._num_classes)
        return self._kept[values]

    def untried(self, tried: Container[str], guess: Guess) -> list[Params] | None:
        """What is left that may fit, or None where the space is too large to tell."""
        if self._all is None:
            return None
        left = [entry for key, entry in self._all.items() if key not in tried]
        return [params for params, cost in left if guess.share_of_limits(cost) <= _GUESS_ERROR]
