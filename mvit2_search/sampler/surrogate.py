"""The surrogate: a Gaussian process that predicts the accuracy of networks from those that have been trained."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import minimize
from scipy.spatial.distance import cdist

_POSITION_SIGMA = 0.25  # of a coordinate of an embedded choice, a priori
_MOST_EMBEDDED = 30  # choices of a setting; of more, each is seen too rarely to learn its position
_FINE = 8.0  # how much faster the second kernel falls with the distance
_JITTER = 1e-8
_ITERATIONS, _MOST = 30, 120  # of the fit of the parameters, and the networks that it uses


class Distance:
    """The distance between networks: the sum of the distances between their values in D settings, with weights.

    Ordered values are their squared difference apart. Unordered choices are embedded, and two are the squared
    distance of their positions apart: 1 a priori, less if they turn out to act alike, and more if not. Settings
    with the same choices in the same order share the embedding, so what one setting shows of two operators holds
    for all of them; how much a setting matters is its weight. Kernels with such embeddings, for each setting
    alone, are those of Zhang et al. (arXiv:1806.07504). Choices of a setting with very many stay 1 apart.

    The parameters theta (shape T) are the logarithms of the D weights, then the positions of every set of choices;
    a longer theta is allowed.

    Args:
        choices: of each setting; None if its values are ordered.

    Attributes:
        mean, sigma: prior means and standard deviations of the parameters, shape T.
    """

    def __init__(self, choices: Sequence[tuple[Any, ...] | None]) -> None:
        self._choices = choices
        settings = len(choices)
        positions = [np.eye(count).ravel() / 2**0.5 for _, count in self._embedded()]
        self.mean = np.concatenate([np.full(settings, np.log(0.6 / settings)), *positions])
        self.sigma = np.where(np.arange(len(self.mean)) < settings, 1.0, _POSITION_SIGMA)

    def apart(self, theta: np.ndarray, a_MD: np.ndarray, b_ND: np.ndarray) -> np.ndarray:
        """Unweighted distances between two lists of networks, setting by setting: shape D x M x N."""
        apart_DMN = np.empty((len(self._choices), len(a_MD), len(b_ND)))
        for d, choices in enumerate(self._choices):
            if choices is None:
                apart_DMN[d] = (a_MD[:, d, None] - b_ND[:, d]) ** 2
            else:
                apart_DMN[d] = a_MD[:, d, None] != b_ND[:, d]
        for settings, position_VV in self._positions(theta):
            apart_VV = cdist(position_VV, position_VV, "sqeuclidean")
            for d in settings:
                apart_DMN[d] = apart_VV[:, b_ND[:, d].astype(int)][a_MD[:, d].astype(int)]
        return apart_DMN

    def total(self, theta: np.ndarray, apart_DMN: np.ndarray) -> np.ndarray:
        """The weighted distances, shape M x N."""
        total_MN: np.ndarray = np.tensordot(np.exp(theta[: len(self._choices)]), apart_DMN, 1)
        return total_MN

    def gradient(
        self, theta: np.ndarray, x_ND: np.ndarray, apart_DNN: np.ndarray, slope_NN: np.ndarray
    ) -> np.ndarray:
        """Derivatives by the parameters (shape T) of what has derivatives `slope_NN` by the distances."""
        weight_D = np.exp(theta[: len(self._choices)])
        parts = [weight_D * np.einsum("dmn,mn->d", apart_DNN, slope_NN)]
        for settings, position_VV in self._positions(theta):
            has_SNV = (x_ND.T[settings][..., None] == np.arange(len(position_VV))).astype(float)
            slope_SVV = np.swapaxes(has_SNV, 1, 2) @ slope_NN @ has_SNV
            slope_VV = np.tensordot(weight_D[settings], slope_SVV, 1)
            slope_VV = slope_VV + slope_VV.T
            parts.append(2 * (slope_VV.sum(1)[:, None] * position_VV - slope_VV @ position_VV).ravel())
        return np.concatenate(parts)

    def _positions(self, theta: np.ndarray) -> Iterator[tuple[list[int], np.ndarray]]:
        """For every set of V choices: the settings that share it, and the positions, one row for each choice."""
        start = len(self._choices)
        for settings, count in self._embedded():
            yield settings, theta[start : start + count**2].reshape(count, count)
            start += count**2

    def _embedded(self) -> Iterator[tuple[list[int], int]]:
        """For every set of choices that is embedded: the settings that share it, and the number of choices."""
        for d, choices in enumerate(self._choices):
            if choices is not None and len(choices) <= _MOST_EMBEDDED and self._choices.index(choices) == d:
                yield [i for i, other in enumerate(self._choices) if other == choices], len(choices)


Prior = tuple[np.ndarray, np.ndarray]  # means and standard deviations of independent normal distributions


def _prior(distance: Distance) -> Prior:
    """Of the distance's parameters, the log variances of both kernels and the log variance of the noise."""
    mean, sigma = [*distance.mean, 0.0, -1.0, np.log(0.01)], [*distance.sigma, 1.0, 1.0, 1.5]
    return np.array(mean), np.array(sigma)


class Surrogate:
    """A Gaussian process over the distances between networks.

    Its covariance is the sum of two kernels that fall exponentially with the distance: a slow one, so that
    settings act mostly one by one, and a fast one for effects of combinations. The parameters (see `_prior`) have
    the highest posterior probability (MAP). Values are standardised here.

    Args:
        choices: of each setting; None if its values are ordered.
    """

    def __init__(self, choices: Sequence[tuple[Any, ...] | None]) -> None:
        self._distance = Distance(choices)
        self._prior = _prior(self._distance)
        self._theta = self._prior[0]

    def fit(self, x_ND: np.ndarray, y_N: np.ndarray) -> None:
        """Find the parameters and condition on these networks."""
        chosen = np.linspace(0, len(y_N) - 1, min(len(y_N), _MOST)).round().astype(int)
        z_N = (y_N[chosen] - y_N.mean()) / max(y_N.std(), 1e-12)
        mean, sigma = self._prior
        found = minimize(
            _loss,
            mean,
            args=(self._distance, x_ND[chosen], z_N, self._prior),
            jac=True,
            method="L-BFGS-B",
            bounds=list(zip(mean - 4 * sigma, mean + 4 * sigma, strict=True)),  # beyond, numbers overflow
            options={"maxiter": _ITERATIONS},
        )
        self._theta = found.x
        self.condition(x_ND, y_N)

    def condition(self, x_ND: np.ndarray, y_N: np.ndarray) -> None:
        """Replace the known networks, but keep the parameters."""
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


def _kernels(theta: np.ndarray, distance_MN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.exp(theta[-3] - distance_MN), np.exp(theta[-2] - _FINE * distance_MN)


def _loss(
    theta: np.ndarray, distance: Distance, x_ND: np.ndarray, z_N: np.ndarray, prior: Prior
) -> tuple[float, np.ndarray]:
    """Negative log posterior probability and its gradient, up to a constant."""
    apart_DNN = distance.apart(theta, x_ND, x_ND)
    broad_NN, fine_NN = _kernels(theta, distance.total(theta, apart_DNN))
    noise = np.exp(theta[-1])
    factor_NN = np.linalg.cholesky(broad_NN + fine_NN + 1 + (noise + _JITTER) * np.eye(len(z_N)))
    inverse_NN = cho_solve((factor_NN, True), np.eye(len(z_N)))
    alpha_N = inverse_NN @ z_N
    mean, sigma = prior
    score = (theta - mean) / sigma
    loss = 0.5 * z_N @ alpha_N + np.log(np.diag(factor_NN)).sum() + 0.5 * (score**2).sum()
    slope_NN = 0.5 * (inverse_NN - np.outer(alpha_N, alpha_N))
    by_distance_NN = -slope_NN * (broad_NN + _FINE * fine_NN)
    by_parameter = distance.gradient(theta, x_ND, apart_DNN, by_distance_NN)
    variances = [(slope_NN * broad_NN).sum(), (slope_NN * fine_NN).sum(), noise * np.trace(slope_NN)]
    return float(loss), np.array([*by_parameter, *variances]) + score / sigma
