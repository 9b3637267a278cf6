"""What the front sampler knows: the networks to choose from, also as rows of numbers, and the trials so far."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from mvit2_search.predict.guess import LatencyBounds

Params = Mapping[str, Any]
Score = Callable[[FrozenTrial], tuple[float, float] | None]
"""Accuracy and latency of a trial, or None if it has none."""


def all_values(params: Params) -> Hashable:
    """The key of a network if no two combinations of values give the same one."""
    return tuple(params.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class Domain:
    """Where to search.

    Attributes:
        latency: predicted or known latencies.
        limit_ms: the budget; a network that takes as long or longer gains nothing.
        key: equal for equal networks.
        cheapest: of a large space, the network that random ones are moved towards to fit a tight budget.
        remaining: all networks that are left, if they are few.
        measure: latency in ms of one network, if measuring is cheaper than training; may raise MeasurementError.
    """

    distributions: Mapping[str, BaseDistribution]
    latency: Callable[[Sequence[Params]], LatencyBounds]
    limit_ms: float
    key: Callable[[Params], Hashable] = all_values
    cheapest: Params | None = None
    remaining: Callable[[], Sequence[Params] | None] = lambda: None
    measure: Callable[[Params], float] | None = None

    def unseen(self, params: Sequence[Params], seen: Set[Hashable]) -> dict[Hashable, Params]:
        """Those whose keys are not in `seen`, each once, by key."""
        found = {self.key(one): one for one in params}
        return {key: one for key, one in found.items() if key not in seen}


def complete_score(trial: FrozenTrial) -> tuple[float, float] | None:
    """Accuracy and latency of a complete trial; None for others."""
    if trial.state != TrialState.COMPLETE:
        return None
    accuracy, latency = trial.values
    return accuracy, latency


def count_proposals(trials: Iterable[FrozenTrial], current: FrozenTrial, settings: Set[str]) -> int:
    """How many of the trials before `current` a sampler proposed, or is proposing.

    Not those that were enqueued, nor those that were killed before they had `settings`.
    """
    return sum(
        t.number < current.number
        and "fixed_params" not in t.system_attrs
        and (t.state == TrialState.RUNNING or settings <= t.params.keys())
        for t in trials
    )


@dataclass(frozen=True, slots=True)
class History:
    """Trained networks (shape N), running ones, the keys of all proposed so far, and `count_proposals`."""

    params: list[Params]
    accuracy_N: np.ndarray
    latency_N: np.ndarray
    running: list[Params]
    seen: set[Hashable]
    proposals: int

    @classmethod
    def of(
        cls, study: optuna.Study, current: FrozenTrial, domain: Domain, score: Score, asked: Mapping[int, Params]
    ) -> Self:
        """The history of `study` before the trial `current`.

        Args:
            asked: settings, by trial number, that this process has proposed; the study may not hold them yet.
        """
        names = domain.distributions.keys()
        others = [t for t in study.get_trials(deepcopy=False) if t.number != current.number]
        whole = [(t, {name: t.params[name] for name in names}) for t in others if names <= t.params.keys()]
        scored = [(params, found) for t, params in whole if (found := score(t)) is not None]
        running = [params for t, params in whole if t.state == TrialState.RUNNING]
        begun = {t.number for t in others if t.state == TrialState.RUNNING and not names <= t.params.keys()}
        asked_now = [asked[number] for number in sorted(begun & asked.keys())]
        return cls(
            params=[params for params, _ in scored],
            accuracy_N=np.array([accuracy for _, (accuracy, _) in scored]),
            latency_N=np.array([latency for _, (_, latency) in scored]),
            running=[*running, *asked_now],
            seen={domain.key(params) for params in [*(params for _, params in whole), *asked_now]},
            proposals=count_proposals(others, current, names),
        )


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


class _RangeColumn:
    ordered = True
    choices = None

    def __init__(self, distribution: FloatDistribution | IntDistribution) -> None:
        self._low, self._high = distribution.low, distribution.high
        self._step, self._log = distribution.step, distribution.log
        self._kind = int if isinstance(distribution, IntDistribution) else float
        self.count = 0 if self._step is None or self._log else round((self._high - self._low) / self._step) + 1

    def number(self, value: float) -> float:
        low, high, at = np.log([self._low, self._high, value]) if self._log else (self._low, self._high, value)
        return float((at - low) / (high - low)) if high > low else 0.0

    def value(self, number: float) -> float:
        low, high = np.log([self._low, self._high]) if self._log else (self._low, self._high)
        at = low + min(max(number, 0.0), 1.0) * (high - low)
        at = float(np.exp(at)) if self._log else at
        if self._step is not None:
            at = self._low + round((at - self._low) / self._step) * self._step
        return self._kind(min(max(at, self._low), self._high))


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
    return _RangeColumn(distribution)
