"""Settings as numbers, and how far apart two networks are.

Settings as numbers that a model can compare and a search can change.

How unlike two networks are, as their settings say it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from scipy.spatial.distance import cdist

from mvit2_search.sampler.domain import Params


class Encoding:
    """A column of numbers for each of `distributions`.

    Ordered values lie in [0, 1]: numbers of a range by their distance (of its logarithm where the range says so),
    numbers to choose from by their rank. Other choices have no order; their column holds which one it is.
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
        rows = (
            (column.value(float(x)) for column, x in zip(self._columns.values(), row, strict=True)) for row in x_ND
        )
        return [dict(zip(self._columns, row, strict=True)) for row in rows]

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """`count` random rows, every setting drawn evenly."""
        x_ND = rng.random((count, len(self.count_D)))
        index_ND = np.floor(x_ND * self.count_D)
        last_D = np.maximum(self.count_D - 1, 1)
        return np.where(self.count_D == 0, x_ND, np.where(self.ordered_D, index_ND / last_D, index_ND))


@dataclass(frozen=True, slots=True)
class _Range:
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


class _Choice:
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


def _column(distribution: BaseDistribution) -> _Range | _Choice:
    if isinstance(distribution, CategoricalDistribution):
        return _Choice(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    kind = int if isinstance(distribution, IntDistribution) else float
    return _Range(distribution.low, distribution.high, distribution.step, distribution.log, kind)


_PLACE_SIGMA = 0.25  # of a coordinate of a place, before anything is known
_MOST_PLACED = 30  # choices of a setting; of more, hardly any is met often enough to be placed


class Distance:
    """The sum over D settings of how far apart their values are, with a weight for each setting.

    Ordered values are their squared difference apart. Each of the others has a place, and two are the squared
    distance of their places apart: 1 before anything is known, then less where they act alike and more where they
    do not. Settings with the same choices in the same order share the places, so that what one setting shows of
    two operators holds in all of them; how much a setting matters is its weight. Kernels of such places, for each
    setting alone, are those of Zhang et al. (arXiv:1806.07504). Of very many choices any two stay 1 apart.

    The parameters theta, of shape T, are the logarithms of D weights, then the places of every set of choices;
    what a given theta holds behind them is not looked at.

    Args:
        choices: of each setting; None where its values are ordered.

    Attributes:
        mean: of the parameters before anything is known, of shape T.
        sigma: their standard deviations.
    """

    def __init__(self, choices: Sequence[tuple[Any, ...] | None]) -> None:
        self._choices = choices
        settings = len(choices)
        places = [np.eye(count).ravel() / 2**0.5 for _, count in self._placed()]
        self.mean = np.concatenate([np.full(settings, np.log(0.6 / settings)), *places])
        self.sigma = np.where(np.arange(len(self.mean)) < settings, 1.0, _PLACE_SIGMA)

    def apart(self, theta: np.ndarray, a_MD: np.ndarray, b_ND: np.ndarray) -> np.ndarray:
        """How far apart the values of two lists of networks are, setting by setting: of shape D x M x N."""
        apart_DMN = np.empty((len(self._choices), len(a_MD), len(b_ND)))
        for d, choices in enumerate(self._choices):
            if choices is None:
                apart_DMN[d] = (a_MD[:, d, None] - b_ND[:, d]) ** 2
            else:
                apart_DMN[d] = a_MD[:, d, None] != b_ND[:, d]
        for settings, place_VV in self._places(theta):
            apart_VV = cdist(place_VV, place_VV, "sqeuclidean")
            for d in settings:
                apart_DMN[d] = apart_VV[:, b_ND[:, d].astype(int)][a_MD[:, d].astype(int)]
        return apart_DMN

    def total(self, theta: np.ndarray, apart_DMN: np.ndarray) -> np.ndarray:
        """The distances, of shape M x N."""
        total_MN: np.ndarray = np.tensordot(self._weights(theta), apart_DMN, 1)
        return total_MN

    def gradient(
        self, theta: np.ndarray, x_ND: np.ndarray, apart_DNN: np.ndarray, slope_NN: np.ndarray
    ) -> np.ndarray:
        """Slopes by the parameters, of shape T, of what has `slope_NN` by the distances among `x_ND`."""
        weight_D = self._weights(theta)
        parts = [weight_D * np.einsum("dmn,mn->d", apart_DNN, slope_NN)]
        for settings, place_VV in self._places(theta):
            has_SNV = (x_ND.T[settings][..., None] == np.arange(len(place_VV))).astype(float)
            slope_SVV = np.swapaxes(has_SNV, 1, 2) @ slope_NN @ has_SNV
            slope_VV = np.tensordot(weight_D[settings], slope_SVV, 1)
            slope_VV = slope_VV + slope_VV.T
            parts.append(2 * (slope_VV.sum(1)[:, None] * place_VV - slope_VV @ place_VV).ravel())
        return np.concatenate(parts)

    def _weights(self, theta: np.ndarray) -> np.ndarray:
        weight_D: np.ndarray = np.exp(theta[: len(self._choices)])
        return weight_D

    def _places(self, theta: np.ndarray) -> Iterator[tuple[list[int], np.ndarray]]:
        """For every set of V choices, the settings that share it and the places, one row for each choice."""
        start = len(self._choices)
        for settings, count in self._placed():
            yield settings, theta[start : start + count**2].reshape(count, count)
            start += count**2

    def _placed(self) -> Iterator[tuple[list[int], int]]:
        """For every set of choices that have places, the settings that share it and how many choices it has."""
        for d, choices in enumerate(self._choices):
            if choices is not None and len(choices) <= _MOST_PLACED and self._choices.index(choices) == d:
                yield [i for i, other in enumerate(self._choices) if other == choices], len(choices)
