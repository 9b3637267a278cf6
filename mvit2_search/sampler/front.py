"""The front sampler: proposes the network with the largest expected hypervolume improvement.

Its latency is known, or predicted, before it is trained; its accuracy is predicted by the surrogate. One proposal
in ten is random, which corrects wrong predictions. No network is proposed twice.

Running trials count, also those of other threads and processes. Threads may share a sampler. Processes that ask at
the same moment may propose the same network, because neither knows the other's proposal yet.
"""

from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from mvit2_search.analysis.pareto import front_mask
from mvit2_search.errors import SpecError
from mvit2_search.sampler.acquisition import Candidates, fit
from mvit2_search.sampler.domain import Domain, Encoding, History, Params, Score, complete_score

_FIRST = 10  # trained networks from which on proposals are not random
_RANDOM = 0.1  # share of later proposals that are random
_DRAWN, _MUTATED = 100, 300  # candidates: random networks, and mutations of the front
_ROUNDS, _PARENTS = 2, 20  # then further mutations of the most promising candidates
_STEPS = 0.02, 0.2  # range of the standard deviation of small steps
_REDRAWN = 0.5  # share of changes that draw a new value instead of a small step


class FrontSampler(BaseSampler):
    """See the module. The study must maximise an accuracy and minimise a latency in ms, or SpecError is raised.

    Args:
        score: accuracy and latency of a finished trial, or None if it has none.
        first: number of trained networks from which on the model proposes.
        seed: proposals depend on it, the trials so far and the known latencies only.
    """

    def __init__(self, domain: Domain, *, seed: int, score: Score = complete_score, first: int = _FIRST) -> None:
        self._domain, self._score, self._first, self._seed = domain, score, first, seed
        self._encoding = Encoding(domain.distributions)
        self._independent = RandomSampler(seed=seed)
        self._asking = Lock()
        self._asked: dict[int, Params] = {}  # by trial number

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        if study.directions != [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]:
            raise SpecError("the study must maximise accuracy and minimise latency, in this order")
        return dict(self._domain.distributions)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        with self._asking:
            history = History.of(study, trial, self._domain, self._score, self._asked)
            self._asked[trial.number] = self._propose(history)
            return dict(self._asked[trial.number])

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A setting outside the domain is drawn at random; it says nothing about the network."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def _propose(self, history: History) -> Params:
        rng = np.random.default_rng([self._seed, history.proposals])
        is_random = len(history.params) < self._first or rng.random() < _RANDOM
        return self._random(history, rng) if is_random else self._best(history, rng)

    def _random(self, history: History, rng: np.random.Generator) -> Params:
        """An unseen network, within the budget if possible; any network if all are seen."""
        drawn = self._draw(rng)
        new = list(self._domain.unseen(drawn, history.seen).values()) or drawn[:1]
        ms_M = self._domain.latency(new).ms_M
        fitting = np.flatnonzero(ms_M <= self._domain.limit_ms)
        return new[fitting[0] if len(fitting) else int(np.argmin(ms_M))]

    def _draw(self, rng: np.random.Generator) -> Sequence[Params]:
        if remaining := self._domain.remaining():
            return [remaining[i] for i in rng.permutation(len(remaining))[: 2 * _DRAWN]]
        cheapest = self._domain.cheapest
        drawn = self._encoding.decode(random_rows(_DRAWN, self._encoding, cheapest, rng))
        return drawn if cheapest is None else [*drawn, cheapest]

    def _best(self, history: History, rng: np.random.Generator) -> Params:
        surrogate, front = fit(history, self._encoding, self._domain)
        candidates = Candidates(surrogate, front, encoding=self._encoding, domain=self._domain, seen=history.seen)
        candidates.add(self._draw(rng))
        on_front = np.flatnonzero(front_mask(history.accuracy_N, history.latency_N))
        parents = [history.params[i] for i in on_front]
        for count in (_MUTATED, *[_MUTATED // 4] * _ROUNDS):
            rows_ND = mutated(self._encoding.encode(parents), count, self._encoding, rng)
            candidates.add(self._encoding.decode(rows_ND))
            parents = candidates.best(_PARENTS) or parents
        return candidates.choose() or self._random(history, rng)


def random_rows(count: int, encoding: Encoding, cheapest: Params | None, rng: np.random.Generator) -> np.ndarray:
    """`count` rows with every setting drawn evenly.

    Every other row is moved towards the `cheapest` network, if there is one, by a random share of the way, so that
    some fit a tight budget; unordered settings stay.
    """
    rows_ND = encoding.draw(count, rng)
    if cheapest is not None:
        share_N1 = np.where(np.arange(count) % 2, rng.random(count), 1)[:, None]
        lowest_D = encoding.encode([cheapest])[0]
        moved_ND = lowest_D + share_N1 * (rows_ND - lowest_D)
        rows_ND = np.where(encoding.ordered_D, moved_ND, rows_ND)
    return rows_ND


def mutated(parents_PD: np.ndarray, count: int, encoding: Encoding, rng: np.random.Generator) -> np.ndarray:
    """`count` rows, each a random parent with one setting changed, or two, or more (each half as often)."""
    settings = parents_PD.shape[1]
    rows_ND = parents_PD[rng.integers(len(parents_PD), size=count)]
    changes_N = np.minimum(rng.geometric(0.5, size=count), settings)
    rank_ND = rng.permuted(np.tile(np.arange(settings), (count, 1)), axis=1)
    redrawn_ND = encoding.draw(count, rng)
    stepped_ND = small_steps(rows_ND, encoding, rng)
    small_ND = encoding.ordered_D & (rng.random(rows_ND.shape) > _REDRAWN)
    new_ND = np.where(small_ND, stepped_ND, redrawn_ND)
    return np.where(rank_ND < changes_N[:, None], new_ND, rows_ND)


def small_steps(x_ND: np.ndarray, encoding: Encoding, rng: np.random.Generator) -> np.ndarray:
    """Every ordered setting moved by a small step, at least to the next of its values."""
    low, high = np.log(_STEPS)
    scale_N = np.exp(rng.uniform(low, high, len(x_ND)))
    step_ND = rng.normal(0, scale_N[:, None], x_ND.shape)
    least_D = np.where(encoding.count_D > 1, 1 / np.maximum(encoding.count_D - 1, 1), 0)
    moved_ND: np.ndarray = np.clip(x_ND + np.sign(step_ND) * np.maximum(np.abs(step_ND), least_D), 0, 1)
    return moved_ND
