"""The sampler of this program: the candidate with the largest expected gain of the front.

Networks to choose the next one from.

Candidates, and what the front is expected to gain from each.

The sampler: next comes the network from which the front is expected to gain most.

Its latency is known, or predicted, before it is trained; its accuracy is what a Gaussian process over the
settings makes of the networks trained so far. One proposal in ten is random, which mends what the process has
got wrong. No network is proposed twice.

Trials that are running are accounted for, also those of other threads and processes. Threads may share a sampler;
processes that ask at the same moment may propose the same network, as neither knows of the other's proposal yet.
"""

from collections.abc import Hashable, Sequence, Set
from threading import Lock
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from mvit2_search.analysis.pareto import front_mask
from mvit2_search.errors import MeasurementError, SpecError
from mvit2_search.sampler.domain import Domain, Params
from mvit2_search.sampler.encoding import Encoding
from mvit2_search.sampler.surrogate import Front, History, Score, Surrogate, fit, told

_STEPS = 0.02, 0.2  # between which lies the standard deviation of small changes of ordered settings
_FRESH = 0.5  # how often a change is a new value instead of a small step


def random_rows(count: int, encoding: Encoding, cheapest: Params | None, rng: np.random.Generator) -> np.ndarray:
    """`count` rows with every setting drawn evenly. Where there is a `cheapest` network, every other row is moved
    towards it by a random share of the way, so that some fit a tight budget; settings without an order stay."""
    rows_ND = encoding.draw(count, rng)
    if cheapest is not None:
        share_N1 = np.where(np.arange(count) % 2, rng.random(count), 1)[:, None]
        lowest_D = encoding.encode([cheapest])[0]
        moved_ND = lowest_D + share_N1 * (rows_ND - lowest_D)
        rows_ND = np.where(encoding.ordered_D, moved_ND, rows_ND)
    return rows_ND


def mutated(parents_PD: np.ndarray, count: int, encoding: Encoding, rng: np.random.Generator) -> np.ndarray:
    """`count` rows, each a random parent in which one setting is changed, or two, or (half as often) more."""
    settings = parents_PD.shape[1]
    rows_ND = parents_PD[rng.integers(len(parents_PD), size=count)]
    changes_N = np.minimum(rng.geometric(0.5, size=count), settings)
    rank_ND = rng.permuted(np.tile(np.arange(settings), (count, 1)), axis=1)
    fresh_ND = encoding.draw(count, rng)
    near_ND = _stepped(rows_ND, encoding, rng)
    small_ND = encoding.ordered_D & (rng.random(rows_ND.shape) > _FRESH)
    changed_ND: np.ndarray = np.where(rank_ND < changes_N[:, None], np.where(small_ND, near_ND, fresh_ND), rows_ND)
    return changed_ND


def _stepped(x_ND: np.ndarray, encoding: Encoding, rng: np.random.Generator) -> np.ndarray:
    """Every ordered setting moved by a small step: of a few values, to a neighbouring one at least."""
    low, high = np.log(_STEPS)
    scale_N = np.exp(rng.uniform(low, high, len(x_ND)))
    step_ND = rng.normal(0, scale_N[:, None], x_ND.shape)
    least_D = np.where(encoding.count_D > 1, 1 / np.maximum(encoding.count_D - 1, 1), 0)
    moved_ND: np.ndarray = np.clip(x_ND + np.sign(step_ND) * np.maximum(np.abs(step_ND), least_D), 0, 1)
    return moved_ND


_MAX_MEASURED = 3
_CLEARLY = 0.8


class Choice:
    """Grows by `add`; `choose` gives the best and measures where its latency could change the choice."""

    def __init__(
        self, surrogate: Surrogate, front: Front, *, encoding: Encoding, domain: Domain, seen: Set[Hashable]
    ) -> None:
        self._surrogate, self._front = surrogate, front
        self._seen = set(seen)
        self._encoding, self._domain = encoding, domain
        self.params: list[Params] = []
        self._mean_M, self._sigma_M = np.empty(0), np.empty(0)
        self._gain_M, self._least_M = np.empty(0), np.empty(0)  # expected, and at the longest latency

    def add(self, params: Sequence[Params]) -> None:
        """Consider these too, as far as they have not been seen."""
        if new := self._domain.unseen(params, self._seen):
            self._seen |= new.keys()
            params = list(new.values())
            mean_M, sigma_M = self._surrogate.predict(self._encoding.encode(params))
            span = self._domain.latency(params)
            self.params += params
            self._mean_M, self._sigma_M = np.r_[self._mean_M, mean_M], np.r_[self._sigma_M, sigma_M]
            self._gain_M = np.r_[self._gain_M, self._front.expected_gain(mean_M, sigma_M, span.ms_M)]
            self._least_M = np.r_[self._least_M, self._front.expected_gain(mean_M, sigma_M, span.high_M)]

    def best(self, count: int) -> list[Params]:
        """The `count` most promising."""
        return [self.params[i] for i in np.argsort(-self._gain_M, kind="stable")[:count]]

    def choose(self) -> Params | None:
        """The most promising; None where nothing is gained. It is measured first where at its longest latency it
        would be clearly less promising than another one."""
        for _ in range(_MAX_MEASURED):
            if self._domain.measure is None or not self._is_unsure():
                break
            self._measure(int(np.argmax(self._gain_M)))
        return self.params[int(np.argmax(self._gain_M))] if self._gain_M.max(initial=0) > 0 else None

    def _is_unsure(self) -> bool:
        order = np.argsort(-self._gain_M, kind="stable")
        return len(order) > 1 and bool(self._least_M[order[0]] < _CLEARLY * self._gain_M[order[1]])

    def _measure(self, i: int) -> None:
        assert self._domain.measure is not None
        try:
            ms = self._domain.measure(self.params[i])
        except MeasurementError:  # as a trial of its own it would fail
            ms = np.inf
        gain = self._front.expected_gain(self._mean_M[[i]], self._sigma_M[[i]], np.array([ms]))[0]
        self._gain_M[i] = self._least_M[i] = gain


_FIRST = 10  # proposals are random until so many networks are trained
_RANDOM = 0.1  # share of later proposals that are random
_DRAWN, _CHANGED = 100, 300  # random networks to choose from, and changed members of the front
_ROUNDS, _PARENTS = 2, 20  # then, so often, changes of so many of the most promising


class FrontSampler(BaseSampler):
    """See the module. The study maximises an accuracy and minimises a latency in ms.

    Args:
        score: accuracy and latency of a closed trial, or None of one that tells neither.
        first: trained networks from which the model proposes.
        seed: proposals follow from it, the trials so far and what is known of latencies.

    Raises:
        SpecError: the study that asks has other directions.
    """

    def __init__(self, domain: Domain, *, seed: int, score: Score = told, first: int = _FIRST) -> None:
        self._domain = domain
        self._score = score
        self._first = first
        self._seed = seed
        self._encoding = Encoding(domain.distributions)
        self._independent = RandomSampler(seed=seed)
        self._asking = Lock()
        self._asked: dict[int, Params] = {}  # by trial

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        if study.directions != [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]:
            raise SpecError("the study must maximise accuracy and minimise latency, in this order")
        return dict(self._domain.distributions)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        with self._asking:
            history = History.of(study, trial, self._domain, self._score, self._asked)
            self._asked[trial.number] = self._next(history)
            return dict(self._asked[trial.number])

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Of a setting that the domain does not have, which says nothing of the network: at random."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def _next(self, history: History) -> Params:
        rng = np.random.default_rng([self._seed, history.proposals])
        is_random = len(history.params) < self._first or rng.random() < _RANDOM
        return self._random(history, rng) if is_random else self._best(history, rng)

    def _random(self, history: History, rng: np.random.Generator) -> Params:
        """A new one, within the budget if possible; any where nothing is new."""
        drawn = self._drawn(rng)
        new = list(self._domain.unseen(drawn, history.seen).values()) or drawn[:1]
        ms_M = self._domain.latency(new).ms_M
        fitting = np.flatnonzero(ms_M <= self._domain.limit_ms)
        return new[fitting[0] if len(fitting) else int(np.argmin(ms_M))]

    def _drawn(self, rng: np.random.Generator) -> Sequence[Params]:
        """Random networks; of a space with few left, some of those in random order."""
        if every := self._domain.every():
            return [every[i] for i in rng.permutation(len(every))[: 2 * _DRAWN]]
        cheapest = self._domain.cheapest
        drawn = self._encoding.decode(random_rows(_DRAWN, self._encoding, cheapest, rng))
        return drawn if cheapest is None else [*drawn, cheapest]

    def _best(self, history: History, rng: np.random.Generator) -> Params:
        surrogate, front = fit(history, self._encoding, self._domain)
        choice = Choice(surrogate, front, encoding=self._encoding, domain=self._domain, seen=history.seen)
        choice.add(self._drawn(rng))
        on_front = np.flatnonzero(front_mask(history.accuracy_N, history.latency_N))
        parents = [history.params[i] for i in on_front]
        for count in (_CHANGED, *[_CHANGED // 4] * _ROUNDS):
            rows_ND = mutated(self._encoding.encode(parents), count, self._encoding, rng)
            choice.add(self._encoding.decode(rows_ND))
            parents = choice.best(_PARENTS) or parents
        return choice.choose() or self._random(history, rng)
