"""A search space: the settings that vary, those that are fixed, and the networks that they give."""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from inspect import signature
from itertools import product
from typing import Any, get_args

from mvit2_search.arch import ATTENTION_STAGES, STAGES, ArchConfig, Attention
from mvit2_search.errors import SpecError

Value = float | int | str
Params = dict[str, Value]

_ALL = tuple(range(1, STAGES + 1))
_FINE_STEPS = 3000  # steps of a continuous axis when counting networks: 0.0005 on a width in [0.5, 2.0],
# below the shortest interval between two roundings of the published channels (1/1152)
_TRIES = 100  # draws for one network that has not been drawn yet


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """The values that an argument of `ArchConfig.mobilevitv2` may have in a space.

    Attributes:
        stages: that it is given for; empty if there is one value for the network.
        low, high: of numbers.
        options: the only values allowed, if not empty.
    """

    kind: type[float] | type[int] | type[str]
    stages: tuple[int, ...]
    low: float = 0
    high: float = 0
    options: tuple[Value, ...] = ()

    def problem(self, value: object) -> str | None:
        """What is wrong with `value`, or None."""
        if self.options:
            allowed = value in self.options and type(value) is self.kind
            return None if allowed else f"expected one of {', '.join(map(str, self.options))}, found {value!r}"
        if self.kind is int and type(value) is not int:
            return f"expected a whole number, found {value!r}"
        if type(value) not in (int, float):  # a bool is no number; YAML 1.1 reads 1e-3 as a string
            return f"expected a number such as 0.5, found {value!r}"
        if not self.low <= value <= self.high:  # type: ignore[operator]  # NaN fails here too
            return f"expected a value from {self.low:g} to {self.high:g}, found {value!r}"
        return None


SETTINGS: dict[str, Setting] = {
    "width": Setting(kind=float, stages=_ALL, low=0.1, high=4),
    "attention_width": Setting(kind=float, stages=ATTENTION_STAGES, low=0.1, high=4),
    "attention_layers": Setting(kind=int, stages=ATTENTION_STAGES, low=0, high=16),
    "ffn_multiplier": Setting(kind=float, stages=ATTENTION_STAGES, low=0.5, high=8),
    "expand_ratio": Setting(kind=float, stages=_ALL, low=0.5, high=8),
    "inverted_residuals": Setting(kind=int, stages=_ALL, low=1, high=8),
    "kernel_size": Setting(kind=int, stages=_ALL, options=(3, 5)),
    "patch_size": Setting(kind=int, stages=ATTENTION_STAGES, low=1, high=8),
    "attention": Setting(kind=str, stages=ATTENTION_STAGES, options=get_args(Attention)),
    "image_size": Setting(kind=int, stages=(), low=32, high=1024),
}
_PUBLISHED = {name: argument.default for name, argument in signature(ArchConfig.mobilevitv2).parameters.items()}


@dataclass(frozen=True, kw_only=True)
class Range:
    """Numbers from `low` to `high`, both included; continuous if `step` is None."""

    low: float
    high: float
    step: float | None

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return math.isclose(steps, round(steps), abs_tol=1e-9)

    @cached_property
    def values(self) -> tuple[Value, ...]:
        """All of them, the lowest first, or a fine sample if the range is continuous."""
        distance = self.step or (self.high - self.low) / _FINE_STEPS
        count = math.floor((self.high - self.low) / distance + 1e-9) + 1
        return tuple(min(self.low + i * distance, self.high) for i in range(count))

    def towards_low(self, value: Value, share: float) -> Value:
        """`value` moved towards `low`, keeping `share` of the distance, rounded down to a step."""
        moved = self.low + share * (float(value) - self.low)
        if self.step is None:
            return moved
        return self.low + math.floor((moved - self.low) / self.step + 1e-9) * self.step


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """A list of values."""

    values: tuple[Value, ...]

    def __contains__(self, value: object) -> bool:
        return value in self.values

    def towards_low(self, value: Value, share: float) -> Value:
        """Numbers move by their rank; names stay."""
        if any(isinstance(v, str) for v in self.values):
            return value
        ranked = sorted(self.values, key=float)
        return ranked[math.floor(share * ranked.index(value) + 1e-9)]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One value to choose: a setting in one stage, or in all of them (`stage` None)."""

    setting: str
    stage: int | None
    domain: Range | Choices

    @cached_property
    def name(self) -> str:
        return self.setting if self.stage is None else f"stage{self.stage}.{self.setting}"


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSpace:
    """What varies (`axes`), and the settings that are fixed to other values than the published ones."""

    name: str
    purpose: str
    axes: tuple[Axis, ...]
    fixed: dict[str, Any]

    def decode(self, params: Mapping[str, Value]) -> ArchConfig:
        """The architecture that `params`, one value per axis, stands for."""
        settings = dict(self.fixed)
        for axis in self.axes:
            value = params[axis.name]
            value = int(value) if SETTINGS[axis.setting].kind is int else value
            if axis.stage is None:
                settings[axis.setting] = value
            else:
                settings.setdefault(axis.setting, []).append(value)  # the axes of a setting are in stage order
        return ArchConfig.mobilevitv2(**settings)

    def encode_width(self, width: float) -> Params | None:
        """The values that give the published network of `width`, or None if the space does not contain it."""
        params: Params = {}
        for axis in self.axes:
            value = _published_value(axis, width)
            if value is None or value not in axis.domain:
                return None
            params[axis.name] = value
        return params if self.decode(params) == ArchConfig.mobilevitv2(width) else None

    @property
    def lowest(self) -> Params:
        """The low end of every axis."""
        return self.towards_cheapest({axis.name: axis.domain.values[0] for axis in self.axes}, 0.0)

    def towards_cheapest(self, params: Mapping[str, Value], share: float) -> Params:
        """`params` with every number moved towards its lowest, keeping `share` of the distance."""
        return {axis.name: axis.domain.towards_low(params[axis.name], share) for axis in self.axes}

    def points(self, limit: int) -> Iterator[Params] | None:
        """Values that reach every network of the space, or None if there are more than `limit`."""
        domains = {axis.name: axis.domain.values for axis in self.axes}
        if math.prod(map(len, domains.values())) > limit:
            return None
        return (dict(zip(domains, values, strict=True)) for values in product(*domains.values()))

    def values(self, setting: str, stage: int) -> Sequence[Any]:
        """All values that a setting may have in a stage."""
        for axis in self.axes:
            if axis.setting == setting and axis.stage in (None, stage):
                return axis.domain.values
        fixed = self.fixed.get(setting, _PUBLISHED[setting])
        return [fixed[SETTINGS[setting].stages.index(stage)] if isinstance(fixed, list | tuple) else fixed]

    def to_json(self) -> dict[str, Any]:
        """What tells two spaces apart, hence without name and purpose."""
        return {"axes": {axis.name: _domain_json(axis.domain) for axis in self.axes}, "fixed": self.fixed}


def _domain_json(domain: Range | Choices) -> Any:
    if isinstance(domain, Choices):
        return list(domain.values)
    return {name: number for name, number in asdict(domain).items() if number is not None}


def _published_value(axis: Axis, width: float) -> Value | None:
    if axis.setting in ("width", "attention_width"):
        return width
    published: Value | tuple[Value, ...] = _PUBLISHED[axis.setting]
    if not isinstance(published, tuple):
        return published
    return None if axis.stage is None else published[SETTINGS[axis.setting].stages.index(axis.stage)]


def draw_networks(space: SearchSpace, count: int, *, seed: int) -> list[ArchConfig]:
    """`count` different networks, every axis drawn evenly; raises SpecError if the space has fewer.

    A smaller `count` gives the first of a larger one.
    """
    found = draw_up_to(space, count, seed=seed)
    if len(found) < count:
        raise SpecError(f"space {space.name!r}: {count} different networks asked for, only {len(found)} found")
    return found


def draw_up_to(space: SearchSpace, most: int, *, seed: int) -> list[ArchConfig]:
    """Like `draw_networks`, but fewer if the space has fewer."""
    generator = random.Random(seed)
    found: dict[str, ArchConfig] = {}
    for _ in range(most * _TRIES):
        if len(found) == most:
            break
        arch = space.decode(draw_params(space, generator))
        found.setdefault(arch.key, arch)
    return list(found.values())


def draw_params(space: SearchSpace, generator: random.Random) -> Params:
    """One value for each axis, drawn evenly."""
    return {axis.name: _draw(axis.domain, generator) for axis in space.axes}


def _draw(domain: Range | Choices, generator: random.Random) -> Value:
    if isinstance(domain, Range) and domain.step is None:
        return generator.uniform(domain.low, domain.high)
    return generator.choice(domain.values)
