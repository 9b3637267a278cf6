"""Networks that share one set of weights: the largest, the smallest, and how those between are drawn."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.cost import network_cost
from mvit2_search.arch.head import Head
from mvit2_search.errors import SpecError
from mvit2_search.models.slices import check_slice, covering, slice_fault
from mvit2_search.space import Axis, Params, SearchSpace, Value, draw_params

_TRIES = 10_000  # draws in a row that give no network of the family

Draw = Callable[[random.Random], ArchConfig]


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """All networks are slices of `maximal` (`models.slices`).

    Attributes:
        draw: a network between the two, by the numbers of the generator alone.
        about: what `draw` follows from, as JSON.
    """

    maximal: ArchConfig
    smallest: ArchConfig
    draw: Draw
    about: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """What tells two families apart."""
        return {"maximal": self.maximal.to_json(), "smallest": self.smallest.to_json(), "networks": self.about}


def family_of(networks: Sequence[ArchConfig], head: Head, *, above: Sequence[ArchConfig] = ()) -> Family:
    """Of a list. The smallest has the fewest multiply-adds.

    Args:
        above: other networks that the largest must be able to give, such as that of a checkpoint.

    Raises:
        SpecError: one of them is no slice of what covers all, and why.
    """
    maximal = covering(*networks, *above)
    for arch in (*networks, *above):
        check_slice(maximal, arch)
    return Family(
        maximal=maximal,
        smallest=min(networks, key=lambda arch: network_cost(arch, head).macs),
        draw=lambda generator: generator.choice(networks),
        about={"keys": [arch.key for arch in networks]},
    )


def family_of_space(
    space: SearchSpace,
    *,
    above: Sequence[ArchConfig] = (),
    is_wanted: Callable[[ArchConfig], bool] = lambda arch: True,
    about: dict[str, Any] | None = None,
) -> Family:
    """Of the networks of a space that have attention wherever its largest network has it.

    Args:
        above: other networks that the largest must be able to give, such as that of a checkpoint.
        is_wanted: of those that are drawn in training, for instance because their latency is in the band.
        about: what `is_wanted` follows from, as JSON.

    Raises:
        SpecError: the largest cannot be cut, or the smallest is no slice of it, and why.
    """
    maximal, smallest = covering(widest(space), *above), narrowest(space)
    for arch in (*above, smallest):
        check_slice(maximal, arch)

    def draw(generator: random.Random) -> ArchConfig:
        for _ in range(_TRIES):
            arch = space.decode(draw_params(space, generator))
            if slice_fault(maximal, arch) is None and is_wanted(arch):
                return arch
        raise SpecError(f"space {space.name!r}: none of {_TRIES:,} drawn networks is wanted; give a wider band")

    return Family(
        maximal=maximal, smallest=smallest, draw=draw, about={"space": space.to_json(), "wanted": about or {}}
    )


def widest(space: SearchSpace) -> ArchConfig:
    """The network with the largest value of every axis; of names, the first, or separable attention."""
    return space.decode(_chosen(space, max))


def narrowest(space: SearchSpace) -> ArchConfig:
    """The network with the smallest value of every axis, but with attention wherever the space can have it."""
    return space.decode(_chosen(space, min))


def _chosen(space: SearchSpace, best: Callable[..., Value]) -> Params:
    return {axis.name: _value(axis, best) for axis in space.axes}


def _value(axis: Axis, best: Callable[..., Value]) -> Value:
    values = axis.domain.values
    if isinstance(values[0], str):
        return "separable" if "separable" in values else values[0]
    least = 1 if axis.setting == "attention_layers" and max(map(float, values)) >= 1 else 0
    return best((value for value in values if float(value) >= least), key=float)
