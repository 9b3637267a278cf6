"""A search space: axes that vary, settings that are fixed, and how values become an architecture."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

from mvit2_search.arch import ArchConfig
from mvit2_search.space.axes import SETTINGS, Value

Params = dict[str, Value]

_FINE_STEPS = 3000  # steps of a continuous axis when counting networks: 0.0005 on a width in [0.5, 2.0],
# below the shortest interval between two roundings of the published channels (1/1152)


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """Ordered numbers from `low` to `high`, both included; continuous where `step` is None."""

    low: float
    high: float
    step: float | None

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return math.isclose(steps, round(steps), abs_tol=1e-9)

    @property
    def count(self) -> int:
        """How many values there are, or of a fine sample of them where the range is continuous."""
        return math.floor((self.high - self.low) / self._distance + 1e-9) + 1

    def value(self, i: int) -> Value:
        """The value of that number from 0, the lowest; no others are computed."""
        return min(self.low + i * self._distance, self.high)

    def grid(self) -> list[Value]:
        """Every value that is counted."""
        return [self.value(i) for i in range(self.count)]

    @property
    def _distance(self) -> float:
        return self.step or (self.high - self.low) / _FINE_STEPS

    def towards_low(self, value: Value, share: float) -> Value:
        """`value` moved towards `low`, keeping `share` of the distance."""
        moved = self.low + share * (float(value) - self.low)
        return (
            moved
            if self.step is None
            else self.low + math.floor((moved - self.low) / self.step + 1e-9) * self.step
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """Values without an order."""

    values: tuple[Value, ...]

    def __contains__(self, value: object) -> bool:
        return value in self.values

    @property
    def count(self) -> int:
        return len(self.values)

    def value(self, i: int) -> Value:
        return self.values[i]

    def grid(self) -> list[Value]:
        return list(self.values)

    def towards_low(self, value: Value, share: float) -> Value:
        """The same for numbers, by their rank; names stay as they are."""
        if any(isinstance(v, str) for v in self.values):
            return value
        ranked = sorted(self.values, key=float)
        return ranked[math.floor(share * ranked.index(value) + 1e-9)]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One value to choose: a setting, in one stage or in all of them (`stage` None)."""

    setting: str
    stage: int | None
    domain: Range | Choices

    @cached_property
    def name(self) -> str:
        return self.setting if self.stage is None else f"stage{self.stage}.{self.setting}"


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSpace:
    """What varies (`axes`) and what is fixed to other than the published value (`fixed`)."""

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
                settings.setdefault(axis.setting, []).append(value)  # axes of a setting stand in stage order
        return ArchConfig.mobilevitv2(**settings)

    def encode_width(self, width: float) -> Params | None:
        """The values that give the published network of `width`, or None where the space has none."""
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
        return self.towards_cheapest({axis.name: axis.domain.value(0) for axis in self.axes}, 0.0)

    def towards_cheapest(self, params: Mapping[str, Value], share: float) -> Params:
        """`params` with every number moved towards its lowest; `share` 0 is the cheapest corner."""
        return {axis.name: axis.domain.towards_low(params[axis.name], share) for axis in self.axes}

    def points(self, limit: int) -> Iterator[Params] | None:
        """Values that reach every network of the space, or None where there are more than `limit`."""
        if math.prod(axis.domain.count for axis in self.axes) > limit:
            return None
        names, grids = [axis.name for axis in self.axes], [axis.domain.grid() for axis in self.axes]
        return (dict(zip(names, values, strict=True)) for values in product(*grids))

    def values(self, setting: str, stage: int) -> list[Any]:
        """What a setting may be in a stage."""
        for axis in self.axes:
            if axis.setting == setting and axis.stage in (None, stage):
                return axis.domain.grid()
        index = SETTINGS[setting].stages.index(stage)
        fixed = self.fixed.get(setting, SETTINGS[setting].published)
        return [fixed[index] if isinstance(fixed, list | tuple) else fixed]

    def to_json(self) -> dict[str, Any]:
        """What tells two spaces apart: the name and the purpose do not."""
        axes = {
            a.name: list(a.domain.values) if isinstance(a.domain, Choices) else _range(a.domain) for a in self.axes
        }
        return {"axes": axes, "fixed": self.fixed}


def _range(domain: Range) -> dict[str, float]:
    step = {} if domain.step is None else {"step": domain.step}
    return {"low": domain.low, "high": domain.high, **step}


def _published_value(axis: Axis, width: float) -> Value | None:
    if axis.setting in ("width", "attention_width"):
        return width
    setting = SETTINGS[axis.setting]
    if axis.stage is not None:
        return setting.published[setting.stages.index(axis.stage)]
    return setting.published[0] if len(set(setting.published)) == 1 else None  # None: no one value is published
