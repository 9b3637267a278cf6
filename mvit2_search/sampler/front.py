"""The front sampler: proposes the network with the largest expected hypervolume improvement.

Its latency is known, or predicted, before it is trained; its accuracy is predicted by the surrogate. One proposal
in ten is random, which corrects wrong predictions. No network is proposed twice.

Running trials count, also those of other threads and processes. Threads may share a sampler. Processes that ask at
the same moment may propose the same network, because neither knows the other's proposal yet.
"""

from collections.abc import Callable, Hashable, Sequence, Set
from threading import Lock
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from scipy.special import ndtr

from mvit2_search.analysis.pareto import front_mask
from mvit2_search.errors import MeasurementError, SpecError
from mvit2_search.sampler.domain import Domain, Encoding, History, Params, Score, complete_score
from mvit2_search.sampler.surrogate import Surrogate

_FIRST = 10  # trained networks from which on proposals are not random
_RANDOM = 0.1  # share of later proposals that are random
_DRAWN, _MUTATED = 100, 300  # candidates: random networks, and mutations of the front
_ROUNDS, _PARENTS = 2, 20  # then further mutations of the most promising candidates
_STEPS = 0.02, 0.2  # range of the standard deviation of small steps
_REDRAWN = 0.5  # share of changes that draw a new value instead of a small step
_WARPED_BELOW = 0.5  # quantile of accuracy
_REFERENCE = 10  # trainings; the worst of them is the reference point's accuracy
_MOST_INFORMATIVE = 400  # trainings that the model is fitted to
_MOST_MEASURED = 3  # candidates for one proposal
_UNCERTAIN = 0.8  # the best one is measured if its improvement may be below this share of the next one's


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
            rng = np.random.default_rng([self._seed, history.proposals])
            is_random = len(history.params) < self._first or rng.random() < _RANDOM
            self._asked[trial.number] = self._random(history, rng) if is_random else self._best(history, rng)
            return dict(self._asked[trial.number])

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A setting outside the domain is drawn at random; it says nothing about the network."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

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


class Front:
    """The front as steps: from latency `start_S[i]` to `end_S[i]`, the accuracy `level_S[i]` is reached already.

    Only points that beat the `reference` (accuracy, latency) in both count. Left of the front, the level is
    the accuracy of the reference.
    """

    def __init__(self, accuracy: np.ndarray, latency: np.ndarray, reference: tuple[float, float]) -> None:
        worst, longest = reference
        mask = front_mask(accuracy, latency) & (accuracy > worst) & (latency < longest)
        order = np.argsort(latency[mask], kind="stable")
        starts = latency[mask][order]
        self.start_S, self.end_S = np.r_[-np.inf, starts], np.r_[starts, longest]
        self.level_S = np.r_[worst, accuracy[mask][order]]

    def expected_improvement(self, mean_M: np.ndarray, sigma_M: np.ndarray, latency_M: np.ndarray) -> np.ndarray:
        """Expected hypervolume improvement of each candidate, shape M: exact for normally distributed accuracies.

        At a known latency, it is the sum of the expected improvements over each step to the right of the
        candidate, which have a closed form.
        """
        width_MS = np.clip(self.end_S - np.maximum(self.start_S, latency_M[:, None]), 0, None)
        sigma_M = np.maximum(sigma_M, 1e-300)
        z_MS = (mean_M[:, None] - self.level_S) / sigma_M[:, None]
        density_MS = np.exp(-0.5 * z_MS**2) / np.sqrt(2 * np.pi)
        gain_M: np.ndarray = sigma_M * (width_MS * (z_MS * ndtr(z_MS) + density_MS)).sum(1)
        return gain_M


def fit(history: History, encoding: Encoding, domain: Domain) -> tuple[Surrogate, Front]:
    """The surrogate and the front, both in warped accuracies.

    Networks in training count as if they had reached the accuracy that the surrogate predicts for them, so that
    workers do not all propose the same.
    """
    kept = informative(history.accuracy_N, history.latency_N, _MOST_INFORMATIVE)
    x_ND = encoding.encode([history.params[i] for i in kept])
    y_N, latency_N = warped(history.accuracy_N)[kept], history.latency_N[kept]
    surrogate = Surrogate(encoding.choices)
    surrogate.fit(x_ND, y_N)
    worst = float(warped(history.accuracy_N)[:_REFERENCE].min())
    if history.running:
        running_RD = encoding.encode(history.running)
        expected_R = surrogate.predict(running_RD)[0]
        y_N, latency_N = np.r_[y_N, expected_R], np.r_[latency_N, domain.latency(history.running).ms_M]
        surrogate.condition(np.r_[x_ND, running_RD], y_N)
    return surrogate, Front(y_N, latency_N, (worst, domain.limit_ms))


def warped(accuracy_N: np.ndarray) -> np.ndarray:
    """Accuracies scaled linearly to [0, 1] above the median, and logarithmically below it.

    How bad a bad network is says little about the good ones, and a model of both wastes its variance on it.
    """
    middle = np.quantile(accuracy_N, _WARPED_BELOW)
    share_N = (accuracy_N - middle) / max(float(accuracy_N.max() - middle), 1e-12)
    y_N: np.ndarray = np.where(share_N >= 0, share_N, -np.log1p(np.maximum(-share_N, 0)))
    return y_N


def informative(accuracy_N: np.ndarray, latency_N: np.ndarray, most: int) -> np.ndarray:
    """Indices of at most `most` points, in order: the nearest to the front, and a quarter spread over the rest."""
    left = np.arange(len(accuracy_N))
    if len(left) <= most:
        return left
    near: list[int] = []
    while len(near) < most - most // 4:
        mask = front_mask(accuracy_N[left], latency_N[left])
        near, left = [*near, *left[mask]], left[~mask]
    near = near[: most - most // 4]
    rest = np.setdiff1d(np.arange(len(accuracy_N)), near)
    spread = rest[np.linspace(0, len(rest) - 1, most // 4).round().astype(int)]
    return np.sort(np.r_[near, spread])


class Candidates:
    """Candidates and their expected improvements; networks whose keys are in `seen` are none."""

    def __init__(
        self, surrogate: Surrogate, front: Front, *, encoding: Encoding, domain: Domain, seen: Set[Hashable]
    ) -> None:
        self._surrogate, self._front = surrogate, front
        self._encoding, self._domain = encoding, domain
        self._seen = set(seen)
        self._params: list[Params] = []
        self._mean_M, self._sigma_M = np.empty(0), np.empty(0)
        self._gain_M, self._least_M = np.empty(0), np.empty(0)  # improvement; that at the upper latency bound

    def add(self, params: Sequence[Params]) -> None:
        """Consider these too, except those seen before."""
        if new := self._domain.unseen(params, self._seen):
            self._seen |= new.keys()
            params = list(new.values())
            mean_M, sigma_M = self._surrogate.predict(self._encoding.encode(params))
            bounds = self._domain.latency(params)
            gain_M, least_M = (
                self._front.expected_improvement(mean_M, sigma_M, ms_M) for ms_M in (bounds.ms_M, bounds.high_M)
            )
            self._params += params
            self._mean_M, self._sigma_M = np.r_[self._mean_M, mean_M], np.r_[self._sigma_M, sigma_M]
            self._gain_M, self._least_M = np.r_[self._gain_M, gain_M], np.r_[self._least_M, least_M]

    def best(self, count: int) -> list[Params]:
        """The `count` most promising."""
        return [self._params[i] for i in np.argsort(-self._gain_M, kind="stable")[:count]]

    def choose(self) -> Params | None:
        """The most promising one; None if no improvement is expected.

        It is measured first if its latency is uncertain enough to change the choice.
        """
        for _ in range(_MOST_MEASURED):
            if self._domain.measure is None or not self._is_uncertain():
                break
            self._measure(int(np.argmax(self._gain_M)), self._domain.measure)
        return self._params[int(np.argmax(self._gain_M))] if self._gain_M.max(initial=0) > 0 else None

    def _is_uncertain(self) -> bool:
        order = np.argsort(-self._gain_M, kind="stable")
        return len(order) > 1 and bool(self._least_M[order[0]] < _UNCERTAIN * self._gain_M[order[1]])

    def _measure(self, i: int, measure: Callable[[Params], float]) -> None:
        try:
            ms = measure(self._params[i])
        except MeasurementError:  # it would fail as a trial too
            ms = np.inf
        gain = self._front.expected_improvement(self._mean_M[[i]], self._sigma_M[[i]], np.array([ms]))[0]
        self._gain_M[i] = self._least_M[i] = gain
