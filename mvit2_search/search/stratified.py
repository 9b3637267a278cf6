"""Networks of a latency band whose settings are spread evenly over the axes of a space."""

import random
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from statistics import quantiles

from mvit2_search.arch import ArchConfig
from mvit2_search.space import Params, SearchSpace, Value, draw_params

Level = tuple[str, Value]  # of an axis: one of few values, or which third of those that networks of the band have

_LEVELS = 3
_FEW = 6  # values of an axis that are levels themselves
_FIRST = 40  # draws that the levels come from
_POOL = 20  # draws that one network is chosen from
_BISECTIONS = 4
_MAX_DRAWS = 1_000  # for one pool
_UNEVEN = 8.0  # axes are moved by powers from 1 / _UNEVEN to _UNEVEN of the share


class StratifiedDraw:
    """Proposes networks of a band, each the one of some draws whose settings are the rarest so far, axis by axis.

    A random network of a large space is mostly far over the budget. So each draw has a latency to reach, evenly
    spread over the band, and is moved towards the cheapest network of the space until it should be there, along
    each axis at a pace of its own.

    Args:
        guess_ms: of a network's latency.
        low_ms, high_ms: the band.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        guess_ms: Callable[[ArchConfig], float],
        low_ms: float,
        high_ms: float,
        seed: int,
    ) -> None:
        self._space, self._guess_ms = space, guess_ms
        self._low_ms, self._high_ms = low_ms, high_ms
        self._generator = random.Random(f"stratified {seed}")
        self._edges: dict[str, list[float]] = {}
        self._taken: list[Mapping[str, Value]] = []
        self._seen: set[str] = set()

    def take(self, key: str, params: Mapping[str, Value] | None) -> None:
        """Never propose the network again, and count its settings, if there are any, as chosen."""
        self._seen.add(key)
        self._taken += [params] if params else []

    def next(self) -> Params | None:
        """Settings of a network that should be in the band; None where no draw finds one."""
        pool = list(islice(self._draws(), _POOL if self._edges else _FIRST))
        self._edges = self._edges or self._thirds(pool)
        counts = Counter(level for params in self._taken for level in self._levels(params))
        return min(pool, key=lambda params: sum(counts[level] for level in self._levels(params)), default=None)

    def _draws(self) -> Iterator[Params]:
        for _ in range(_MAX_DRAWS):
            goal_ms = self._generator.uniform(self._low_ms, self._high_ms)
            params = self._moved(draw_params(self._space, self._generator), goal_ms)
            arch = self._space.decode(params)
            if arch.key not in self._seen and self._low_ms <= self._guess_ms(arch) <= self._high_ms:
                yield params

    def _moved(self, params: Params, goal_ms: float) -> Params:
        """Towards the cheapest network, until it should take `goal_ms`."""
        paces = {name: _UNEVEN ** self._generator.uniform(-1, 1) for name in params}

        def moved(share: float) -> Params:
            domains = {axis.name: axis.domain for axis in self._space.axes}
            return {name: domains[name].towards_low(value, share ** paces[name]) for name, value in params.items()}

        fits, exceeds = 0.0, 1.0  # shares of the way from the cheapest network
        if self._guess_ms(self._space.decode(params)) <= goal_ms:
            return params
        for _ in range(_BISECTIONS):
            middle = (fits + exceeds) / 2
            if self._guess_ms(self._space.decode(moved(middle))) <= goal_ms:
                fits = middle
            else:
                exceeds = middle
        return moved(fits)

    def _thirds(self, pool: list[Params]) -> dict[str, list[float]]:
        """Of each axis with many values, where the thirds of what the band has meet."""
        many = [axis.name for axis in self._space.axes if len(axis.domain.values) > _FEW]
        if len(pool) < _LEVELS:
            return {}
        return {name: quantiles((float(params[name]) for params in pool), n=_LEVELS) for name in many}

    def _levels(self, params: Mapping[str, Value]) -> list[Level]:
        return [
            (name, bisect(self._edges[name], float(value)) if name in self._edges else value)
            for name, value in params.items()
        ]
