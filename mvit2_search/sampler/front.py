"""The sampler: next comes the network from which the front is expected to gain most.

Its latency is known, or predicted, before it is trained; its accuracy is what a Gaussian process over the
settings makes of the networks trained so far. One proposal in ten is random, which mends what the process has
got wrong. No network is proposed twice.

One process asks; trials that it has asked for and that others train are accounted for.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial

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
    """

    def __init__(self, domain: Domain, *, seed: int, score: Score = told, first: int = _FIRST) -> None:
        self._domain = domain
        self._score = score
        self._first = first
        self._seed = seed
        self._encoding = Encoding(domain.distributions)
        self._independent = RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return dict(self._domain.distributions)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        history = History.of(study, trial, self._domain, self._score)
        rng = np.random.default_rng([self._seed, history.proposals])
        is_random = len(history.params) < self._first or rng.random() < _RANDOM
        chosen = self._random(history, rng) if is_random else self._best(history, rng)
        return dict(chosen)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Of a setting that the domain does not have, which says nothing of the network: at random."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

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
