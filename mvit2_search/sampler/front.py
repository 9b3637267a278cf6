"""The sampler: next comes the network from which the front is expected to gain most.

Its latency is known, or predicted, before it is trained; its accuracy is what a Gaussian process over the
settings makes of the networks trained so far. One proposal in ten is random, which mends what the process has
got wrong. No network is proposed twice.

Trials that are running are accounted for, also those of other threads and processes. Threads may share a sampler;
processes that ask at the same moment may propose the same network, as neither knows of the other's proposal yet.
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

from mvit2_search.errors import SpecError
from mvit2_search.pareto import front_mask
from mvit2_search.sampler.choice import Choice
from mvit2_search.sampler.domain import Domain, Params
from mvit2_search.sampler.encoding import Encoding
from mvit2_search.sampler.history import History, Score, told
from mvit2_search.sampler.model import fit
from mvit2_search.sampler.pool import mutated, random_rows

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
