"""What accuracy a network will reach and how sure that is, from those that have been trained."""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import minimize

_FINE = 8.0  # how much faster the second kernel falls with the distance
_JITTER = 1e-8
_STEPS, _MOST = 30, 120  # of the search for the likeliest settings, and the networks it looks at


class Surrogate:
    """A Gaussian process over settings with a weight for each.

    The distance of two networks is the weighted sum of squared differences of ordered settings, and of 1 for each
    other setting in which they differ. Two kernels fall exponentially with it, one slowly, so that settings act
    mostly one by one, and one fast, for what only some combinations do. Weights, variances and noise are those of
    the highest posterior probability. Values are standardised here.

    Args:
        ordered_D: which columns have an order; others hold which value it is.
    """

    def __init__(self, ordered_D: np.ndarray) -> None:
        self._ordered_D = ordered_D
        self._prior = _prior(len(ordered_D))
        self._theta = self._prior.mean

    def fit(self, x_ND: np.ndarray, y_N: np.ndarray) -> None:
        """Find the settings and take over what is known."""
        chosen = np.linspace(0, len(y_N) - 1, min(len(y_N), _MOST)).round().astype(int)
        z_N = (y_N[chosen] - y_N.mean()) / max(y_N.std(), 1e-12)
        found = minimize(
            _loss,
            self._prior.mean,
            args=(self._apart(x_ND[chosen], x_ND[chosen]), z_N, self._prior),
            jac=True,
            method="L-BFGS-B",
            bounds=list(zip(*self._prior.bounds, strict=True)),
            options={"maxiter": _STEPS},
        )
        self._theta = found.x
        self.condition(x_ND, y_N)

    def condition(self, x_ND: np.ndarray, y_N: np.ndarray) -> None:
        """Take over what is known, with the settings found before."""
        self._x_ND = x_ND
        self._mean, self._spread = float(y_N.mean()), float(max(y_N.std(), 1e-12))
        covariance_NN = _covariance(self._theta, self._apart(x_ND, x_ND))
        noise = np.exp(self._theta[-1]) + _JITTER
        self._factor_NN = np.linalg.cholesky(covariance_NN + noise * np.eye(len(y_N)))
        self._alpha_N = cho_solve((self._factor_NN, True), (y_N - self._mean) / self._spread)

    def predict(self, x_MD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation without noise, of shape M each."""
        k_MN = _covariance(self._theta, self._apart(x_MD, self._x_ND))
        explained_MN = solve_triangular(self._factor_NN, k_MN.T, lower=True).T
        variance_M = np.exp(self._theta[-3]) + np.exp(self._theta[-2]) + 1 - (explained_MN**2).sum(1)
        sigma_M = np.sqrt(np.maximum(variance_M, 1e-12))
        return self._mean + self._spread * (k_MN @ self._alpha_N), self._spread * sigma_M

    def _apart(self, a_MD: np.ndarray, b_ND: np.ndarray) -> np.ndarray:
        """Distances by setting, of shape D x M x N."""
        columns = zip(a_MD.T, b_ND.T, self._ordered_D, strict=True)
        return np.stack(
            [(a[:, None] - b) ** 2 if ordered else (a[:, None] != b).astype(float) for a, b, ordered in columns]
        )


@dataclass(frozen=True, slots=True)
class _Prior:
    """Independent normal distributions of the logarithms of D weights, two variances and the noise."""

    mean: np.ndarray
    sigma: np.ndarray

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Beyond these, numbers overflow or covariances cannot be factorised."""
        return self.mean - 4 * self.sigma, self.mean + 4 * self.sigma


def _prior(settings: int) -> _Prior:
    weight = np.log(0.6 / settings)
    return _Prior(
        mean=np.array([*[weight] * settings, 0.0, -1.0, np.log(0.01)]),
        sigma=np.array([*[1.0] * settings, 1.0, 1.0, 1.5]),
    )


def _kernels(theta: np.ndarray, apart_DMN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    distance_MN = np.tensordot(np.exp(theta[:-3]), apart_DMN, 1)
    return np.exp(theta[-3] - distance_MN), np.exp(theta[-2] - _FINE * distance_MN)


def _covariance(theta: np.ndarray, apart_DMN: np.ndarray) -> np.ndarray:
    """Without noise; the mean has variance 1."""
    broad_MN, fine_MN = _kernels(theta, apart_DMN)
    covariance_MN: np.ndarray = broad_MN + fine_MN + 1
    return covariance_MN


def _loss(theta: np.ndarray, apart_DNN: np.ndarray, z_N: np.ndarray, prior: _Prior) -> tuple[float, np.ndarray]:
    """Negative logarithm of the posterior probability and its gradient, up to a constant."""
    broad_NN, fine_NN = _kernels(theta, apart_DNN)
    noise = np.exp(theta[-1])
    factor_NN = np.linalg.cholesky(broad_NN + fine_NN + 1 + (noise + _JITTER) * np.eye(len(z_N)))
    inverse_NN = cho_solve((factor_NN, True), np.eye(len(z_N)))
    alpha_N = inverse_NN @ z_N
    score = (theta - prior.mean) / prior.sigma
    loss = 0.5 * z_N @ alpha_N + np.log(np.diag(factor_NN)).sum() + 0.5 * (score**2).sum()
    slope_NN = 0.5 * (inverse_NN - np.outer(alpha_N, alpha_N))
    by_distance_NN = slope_NN * (broad_NN + _FINE * fine_NN)
    by_weight_D = -np.exp(theta[:-3]) * np.einsum("dmn,mn->d", apart_DNN, by_distance_NN)
    variances = [(slope_NN * broad_NN).sum(), (slope_NN * fine_NN).sum(), noise * np.trace(slope_NN)]
    return float(loss), np.array([*by_weight_D, *variances]) + score / prior.sigma
