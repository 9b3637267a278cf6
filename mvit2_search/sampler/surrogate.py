"""What accuracy a network will reach and how sure that is, from those that have been trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import minimize

from mvit2_search.sampler.distance import Distance

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
