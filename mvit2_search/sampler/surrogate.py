"""The model of accuracy and front that proposals are chosen by.

What the sampler knows of networks before they are trained.

What a study has found out, as the sampler reads it.

What accuracy a network will reach and how sure that is, from those that have been trained.

How much a front may gain from a network that is not trained yet.

From the networks trained so far to what others will reach, and to the front they have to beat.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState
from scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import minimize
from scipy.special import ndtr

from mvit2_search.analysis.pareto import front_mask
from mvit2_search.sampler.domain import Domain, Params
from mvit2_search.sampler.encoding import Distance, Encoding

Score = Callable[[FrozenTrial], tuple[float, float] | None]


def told(trial: FrozenTrial) -> tuple[float, float] | None:
    """Accuracy and latency of a complete trial; None of others."""
    if trial.state != TrialState.COMPLETE:
        return None
    accuracy, latency = trial.values
    return accuracy, latency


def count_proposals(trials: Iterable[FrozenTrial], current: FrozenTrial, settings: Set[str]) -> int:
    """How many of `trials` a sampler proposed, or is proposing, before `current`: those that were queued are none,
    nor are those that died before they had `settings`."""
    return sum(
        t.number < current.number
        and "fixed_params" not in t.system_attrs
        and (t.state == TrialState.RUNNING or settings <= t.params.keys())
        for t in trials
    )


@dataclass(frozen=True, slots=True)
class History:
    """Trained networks (shape N), those that run now, and the keys of all that were ever proposed.

    `proposals` were made by a sampler; see `count_proposals`.
    """

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
        """That of `study` for the trial `current`.

        Args:
            asked: settings by number of trials that the study may not hold yet.
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
            seen={domain.key(params) for _, params in whole} | {domain.key(params) for params in asked_now},
            proposals=count_proposals(others, current, names),
        )


_FINE = 8.0  # how much faster the second kernel falls with the distance
_JITTER = 1e-8
_STEPS, _MOST = 30, 120  # of the search for the likeliest parameters, and the networks it looks at


class Surrogate:
    """A Gaussian process over the distances of networks.

    Two kernels fall exponentially with the distance, one slowly, so that settings act mostly one by one, and one
    fast, for what only some combinations do. The parameters theta are those of the distance, then the logarithms
    of the kernels' variances and of the noise, and have the highest posterior probability. Values are standardised
    here.

    Args:
        choices: of each setting; None where its values are ordered.
    """

    def __init__(self, choices: Sequence[tuple[Any, ...] | None]) -> None:
        self._distance = Distance(choices)
        self._prior = _prior(self._distance)
        self._theta = self._prior.mean

    def fit(self, x_ND: np.ndarray, y_N: np.ndarray) -> None:
        """Find the parameters and take over what is known."""
        chosen = np.linspace(0, len(y_N) - 1, min(len(y_N), _MOST)).round().astype(int)
        z_N = (y_N[chosen] - y_N.mean()) / max(y_N.std(), 1e-12)
        found = minimize(
            _loss,
            self._prior.mean,
            args=(self._distance, x_ND[chosen], z_N, self._prior),
            jac=True,
            method="L-BFGS-B",
            bounds=list(zip(*self._prior.bounds, strict=True)),
            options={"maxiter": _STEPS},
        )
        self._theta = found.x
        self.condition(x_ND, y_N)

    def condition(self, x_ND: np.ndarray, y_N: np.ndarray) -> None:
        """Take over what is known, with the parameters found before."""
        self._x_ND = x_ND
        self._mean, self._spread = float(y_N.mean()), float(max(y_N.std(), 1e-12))
        noise = np.exp(self._theta[-1]) + _JITTER
        self._factor_NN = np.linalg.cholesky(self._covariance(x_ND) + noise * np.eye(len(y_N)))
        self._alpha_N = cho_solve((self._factor_NN, True), (y_N - self._mean) / self._spread)

    def predict(self, x_MD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation without noise, of shape M each."""
        k_MN = self._covariance(x_MD)
        explained_MN = solve_triangular(self._factor_NN, k_MN.T, lower=True).T
        variance_M = np.exp(self._theta[-3]) + np.exp(self._theta[-2]) + 1 - (explained_MN**2).sum(1)
        sigma_M = np.sqrt(np.maximum(variance_M, 1e-12))
        return self._mean + self._spread * (k_MN @ self._alpha_N), self._spread * sigma_M

    def _covariance(self, x_MD: np.ndarray) -> np.ndarray:
        """With the known networks, without noise; the mean has variance 1."""
        apart_DMN = self._distance.apart(self._theta, x_MD, self._x_ND)
        broad_MN, fine_MN = _kernels(self._theta, self._distance.total(self._theta, apart_DMN))
        covariance_MN: np.ndarray = broad_MN + fine_MN + 1
        return covariance_MN


@dataclass(frozen=True, slots=True)
class _Prior:
    """Independent normal distributions of the distance's parameters and the logarithms of variances and noise."""

    mean: np.ndarray
    sigma: np.ndarray

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Beyond these, numbers overflow or covariances cannot be factorised."""
        return self.mean - 4 * self.sigma, self.mean + 4 * self.sigma


def _prior(distance: Distance) -> _Prior:
    return _Prior(
        mean=np.array([*distance.mean, 0.0, -1.0, np.log(0.01)]),
        sigma=np.array([*distance.sigma, 1.0, 1.0, 1.5]),
    )


def _kernels(theta: np.ndarray, distance_MN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.exp(theta[-3] - distance_MN), np.exp(theta[-2] - _FINE * distance_MN)


def _loss(
    theta: np.ndarray, distance: Distance, x_ND: np.ndarray, z_N: np.ndarray, prior: _Prior
) -> tuple[float, np.ndarray]:
    """Negative logarithm of the posterior probability and its gradient, up to a constant."""
    apart_DNN = distance.apart(theta, x_ND, x_ND)
    broad_NN, fine_NN = _kernels(theta, distance.total(theta, apart_DNN))
    noise = np.exp(theta[-1])
    factor_NN = np.linalg.cholesky(broad_NN + fine_NN + 1 + (noise + _JITTER) * np.eye(len(z_N)))
    inverse_NN = cho_solve((factor_NN, True), np.eye(len(z_N)))
    alpha_N = inverse_NN @ z_N
    score = (theta - prior.mean) / prior.sigma
    loss = 0.5 * z_N @ alpha_N + np.log(np.diag(factor_NN)).sum() + 0.5 * (score**2).sum()
    slope_NN = 0.5 * (inverse_NN - np.outer(alpha_N, alpha_N))
    by_distance_NN = -slope_NN * (broad_NN + _FINE * fine_NN)
    by_parameter = distance.gradient(theta, x_ND, apart_DNN, by_distance_NN)
    variances = [(slope_NN * broad_NN).sum(), (slope_NN * fine_NN).sum(), noise * np.trace(slope_NN)]
    return float(loss), np.array([*by_parameter, *variances]) + score / prior.sigma


@dataclass(frozen=True, slots=True)
class Front:
    """A front as stairs: from `start_S[i]` to `end_S[i]` on the latency's axis, `level_S[i]` is reached already.

    Where nothing is, the level is that of the reference point.
    """

    start_S: np.ndarray
    end_S: np.ndarray
    level_S: np.ndarray

    @classmethod
    def of(cls, accuracy: np.ndarray, latency: np.ndarray, reference: tuple[float, float]) -> "Front":
        """The stairs of points; only what lies within `reference` (an accuracy, a latency) makes one."""
        worst, longest = reference
        mask = front_mask(accuracy, latency) & (accuracy > worst) & (latency < longest)
        order = np.argsort(latency[mask], kind="stable")
        starts = latency[mask][order]
        return cls(
            start_S=np.r_[-np.inf, starts],
            end_S=np.r_[starts, longest],
            level_S=np.r_[worst, accuracy[mask][order]],
        )

    def expected_gain(self, mean_M: np.ndarray, sigma_M: np.ndarray, latency_M: np.ndarray) -> np.ndarray:
        """Hypervolume that each network is expected to add, of shape M: exact for normally distributed accuracies.

        At a known latency the gain is the sum of the network's improvements over each stair to its right, and an
        expected improvement has a closed form.
        """
        width_MS = np.clip(self.end_S - np.maximum(self.start_S, latency_M[:, None]), 0, None)
        sigma_M = np.maximum(sigma_M, 1e-300)
        z_MS = (mean_M[:, None] - self.level_S) / sigma_M[:, None]
        density_MS = np.exp(-0.5 * z_MS**2) / np.sqrt(2 * np.pi)
        gain_M: np.ndarray = sigma_M * (width_MS * (z_MS * ndtr(z_MS) + density_MS)).sum(1)
        return gain_M


_MIDDLE = 0.5  # quantile of accuracy below which it is compressed
_FIRST = 10  # the front counts from the worst of the first trained
_MOST_INFORMATIVE = 400  # trainings that the model is made of


def fit(history: History, encoding: Encoding, domain: Domain) -> tuple[Surrogate, Front]:
    """The model and the front, both in compressed accuracies.

    Networks that are in training count as if they had reached what the model expects of them, so that workers do
    not all propose the same.
    """
    kept = informative(history.accuracy_N, history.latency_N, _MOST_INFORMATIVE)
    x_ND = encoding.encode([history.params[i] for i in kept])
    y_N, latency_N = compressed(history.accuracy_N)[kept], history.latency_N[kept]
    surrogate = Surrogate(encoding.choices)
    surrogate.fit(x_ND, y_N)
    worst = float(compressed(history.accuracy_N)[:_FIRST].min())
    if history.running:
        running_RD = encoding.encode(history.running)
        expected_R = surrogate.predict(running_RD)[0]
        y_N, latency_N = np.r_[y_N, expected_R], np.r_[latency_N, domain.latency(history.running).ms_M]
        surrogate.condition(np.r_[x_ND, running_RD], y_N)
    return surrogate, Front.of(y_N, latency_N, (worst, domain.limit_ms))


def compressed(accuracy_N: np.ndarray) -> np.ndarray:
    """Accuracies above the median on a straight line from 0 to 1, those below on a logarithm that meets it.

    How bad a bad network is says little about the good ones, and a model of both wastes its variance on it.
    """
    middle = np.quantile(accuracy_N, _MIDDLE)
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
