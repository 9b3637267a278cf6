"""Networks drawn from a search space at random."""

import random

from mvit2_search.arch import ArchConfig
from mvit2_search.errors import SpecError
from mvit2_search.space.axes import Value
from mvit2_search.space.space import Axis, Params, Range, SearchSpace

_TRIES = 100  # draws for one network that has not been drawn yet


def draw_networks(space: SearchSpace, count: int, *, seed: int) -> list[ArchConfig]:
    """`count` different networks, every axis drawn evenly by itself. A larger `count` goes on after a smaller.

    Raises:
        SpecError: the space holds too few networks.
    """
    found = draw_up_to(space, count, seed=seed)
    if len(found) < count:
        raise SpecError(f"space {space.name!r}: {count} different networks asked for, only {len(found)} found")
    return found


def draw_up_to(space: SearchSpace, most: int, *, seed: int) -> list[ArchConfig]:
    """The same, or all that a smaller space gives."""
    generator = random.Random(seed)
    found: dict[str, ArchConfig] = {}
    for _ in range(most * _TRIES):
        if len(found) == most:
            break
        arch = space.decode(draw_params(space, generator))
        found.setdefault(arch.key, arch)
    return list(found.values())


def draw_params(space: SearchSpace, generator: random.Random) -> Params:
    """One value for each axis, every axis drawn evenly by itself."""
    return {axis.name: _value(axis, generator) for axis in space.axes}


def _value(axis: Axis, generator: random.Random) -> Value:
    if isinstance(axis.domain, Range) and axis.domain.step is None:
        return generator.uniform(axis.domain.low, axis.domain.high)
    return axis.domain.value(generator.randrange(axis.domain.count))
