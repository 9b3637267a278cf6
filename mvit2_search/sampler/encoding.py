"""Settings of a network as a row of numbers, which a model can compare and a search can change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from mvit2_search.sampler.domain import Params


class Encoding:
    """One column of numbers for each of `distributions`.

    Ordered values lie in [0, 1]: a range linearly (or by logarithm, if the range says so), numbers to choose from
    by rank. A column of unordered choices holds the index of the choice.
    """

    def __init__(self, distributions: Mapping[str, BaseDistribution]) -> None:
        self._columns = {name: _column(distribution) for name, distribution in distributions.items()}
        self.ordered_D = np.array([column.ordered for column in self._columns.values()])
        self.count_D = np.array([column.count for column in self._columns.values()])  # of values; 0: continuous
        self.choices = [column.choices for column in self._columns.values()]  # None: ordered

    def encode(self, params: Sequence[Params]) -> np.ndarray:
        """x_ND, one row for each."""
        columns = [[column.number(one[name]) for one in params] for name, column in self._columns.items()]
        return np.array(columns, float).T

    def decode(self, x_ND: np.ndarray) -> list[dict[str, Any]]:
        """The nearest settings to each row."""
        columns = self._columns.items()
        return [
            {name: column.value(float(x)) for (name, column), x in zip(columns, row, strict=True)} for row in x_ND
        ]

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """`count` random rows, every setting drawn evenly."""
        x_ND = rng.random((count, len(self.count_D)))
        index_ND = np.floor(x_ND * self.count_D)
        last_D = np.maximum(self.count_D - 1, 1)
        return np.where(self.count_D == 0, x_ND, np.where(self.ordered_D, index_ND / last_D, index_ND))


@dataclass(frozen=True, slots=True)
class _RangeColumn:
    low: float
    high: float
    step: float | None
    log: bool
    kind: type[int] | type[float]
    ordered = True
    choices = None

    @property
    def count(self) -> int:
        return 0 if self.step is None or self.log else round((self.high - self.low) / self.step) + 1

    def number(self, value: float) -> float:
        low, high, at = np.log([self.low, self.high, value]) if self.log else (self.low, self.high, value)
        return float((at - low) / (high - low)) if high > low else 0.0

    def value(self, number: float) -> float:
        low, high = np.log([self.low, self.high]) if self.log else (self.low, self.high)
        at = low + min(max(number, 0.0), 1.0) * (high - low)
        at = float(np.exp(at)) if self.log else at
        if self.step is not None:
            at = self.low + round((at - self.low) / self.step) * self.step
        return self.kind(min(max(at, self.low), self.high))


class _ChoiceColumn:
    def __init__(self, choices: Sequence[Any]) -> None:
        self.ordered = all(type(choice) in (int, float) for choice in choices)
        self.count = len(choices)
        self.choices = None if self.ordered else tuple(choices)
        self._values = sorted(choices) if self.ordered else list(choices)
        self._step = 1 / max(self.count - 1, 1) if self.ordered else 1.0

    def number(self, value: Any) -> float:
        return self._values.index(value) * self._step

    def value(self, number: float) -> Any:
        return self._values[min(max(round(number / self._step), 0), self.count - 1)]


def _column(distribution: BaseDistribution) -> _RangeColumn | _ChoiceColumn:
    if isinstance(distribution, CategoricalDistribution):
        return _ChoiceColumn(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    kind = int if isinstance(distribution, IntDistribution) else float
    return _RangeColumn(distribution.low, distribution.high, distribution.step, distribution.log, kind)
