"""The acquisition function: how much hypervolume the front is expected to gain from each candidate."""

from collections.abc import Callable, Hashable, Sequence, Set
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from mvit2_search.analysis.pareto import front_mask
from mvit2_search.errors import MeasurementError
from mvit2_search.sampler.domain import Domain, Encoding, History, Params
from mvit2_search.sampler.surrogate import Surrogate

_WARPED_BELOW = 0.5  # quantile of accuracy
_FIRST = 10  # trainings; the worst of them is the reference point's accuracy
_MOST_INFORMATIVE = 400  # trainings that the model is fitted to
_MOST_MEASURED = 3  # candidates for one proposal
_UNCERTAIN = 0.8  # the best one is measured if its improvement may be below this share of the next one's


@dataclass(frozen=True, slots=True)
class Front:
    """The front as steps: from latency `start_S[i]` to `end_S[i]`, the accuracy `level_S[i]` is reached already.

    Left of the front, the level is that of the reference point.
    """

    start_S: np.ndarray
    end_S: np.ndarray
    level_S: np.ndarray

    @classmethod
    def of(cls, accuracy: np.ndarray, latency: np.ndarray, reference: tuple[float, float]) -> "Front":
        """The front of points, of which only those that beat `reference` (accuracy, latency) in both count."""
        worst, longest = reference
        mask = front_mask(accuracy, latency) & (accuracy > worst) & (latency < longest)
        order = np.argsort(latency[mask], kind="stable")
        starts = latency[mask][order]
        return cls(
            start_S=np.r_[-np.inf, starts],
            end_S=np.r_[starts, longest],
            level_S=np.r_[worst, accuracy[mask][order]],
        )

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
    worst = float(warped(history.accuracy_N)[:_FIRST].min())
    if history.running:
        running_RD = encoding.encode(history.running)
        expected_R = surrogate.predict(running_RD)[0]
        y_N, latency_N = np.r_[y_N, expected_R], np.r_[latency_N, domain.latency(history.running).ms_M]
        surrogate.condition(np.r_[x_ND, running_RD], y_N)
    return surrogate, Front.of(y_N, latency_N, (worst, domain.limit_ms))


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
