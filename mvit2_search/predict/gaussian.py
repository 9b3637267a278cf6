"""Gaussian-process regression with three settings, found on a grid: the same result every time."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

_LENGTHS = np.geomspace(0.5, 64, 15)  # in standard deviations of a feature, times the root of their number
_NOISES = np.geomspace(1e-3, 1e3, 25)  # variance of the noise over that of the process


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Length scale, noise over signal, and the signal's variance."""

    length: float
    noise: float
    variance: float


class GaussianProcess:
    """Zero mean, squared-exponential kernel and independent noise.

    Args:
        x_NF, y_N: features and values. Features are standardised here; one that never changes has no weight.
        settings: by default those of the highest likelihood.
    """

    def __init__(self, x_NF: np.ndarray, y_N: np.ndarray, settings: Settings | None = None) -> None:
        self._mean_F, spread_F = x_NF.mean(0), x_NF.std(0)
        varies_F = spread_F > 1e-12
        self._weight_F = np.where(varies_F, 1, 0) / np.where(varies_F, spread_F, 1) / max(varies_F.sum(), 1) ** 0.5
        self._z_NF = self._standard(x_NF)
        self.settings = settings or most_likely(self._z_NF, y_N)
        covariance_NN = self._kernel(self._z_NF) + self.settings.noise * np.eye(len(y_N))
        self._inverse_NN = np.linalg.inv(covariance_NN)
        self._alpha_N = self._inverse_NN @ y_N

    def predict(self, x_MF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of a new value, its noise included, of shape M each."""
        k_MN = self._kernel(self._standard(x_MF))
        explained_M = np.einsum("mn,nk,mk->m", k_MN, self._inverse_NN, k_MN, optimize=True)
        variance_M = self.settings.variance * (1 + self.settings.noise - explained_M)
        return k_MN @ self._alpha_N, np.sqrt(np.maximum(variance_M, 0))

    def _standard(self, x_MF: np.ndarray) -> np.ndarray:
        z_MF: np.ndarray = (x_MF - self._mean_F) * self._weight_F
        return z_MF

    def _kernel(self, z_MF: np.ndarray) -> np.ndarray:
        return kernel(z_MF, self._z_NF, self.settings.length)


def kernel(a_MF: np.ndarray, b_NF: np.ndarray, length: float) -> np.ndarray:
    k_MN: np.ndarray = np.exp(-0.5 * cdist(a_MF, b_NF, "sqeuclidean") / length**2)
    return k_MN


def most_likely(z_NF: np.ndarray, y_N: np.ndarray) -> Settings:
    """The settings of the grid with the highest marginal likelihood; the variance is the best for each."""
    best, settings = -np.inf, Settings(length=1.0, noise=1.0, variance=0.0)
    for length in _LENGTHS:
        values_N, vectors_NN = np.linalg.eigh(kernel(z_NF, z_NF, length))
        rotated_N = vectors_NN.T @ y_N
        for noise in _NOISES:
            scales_N = np.maximum(values_N, 0) + noise
            variance = max(float(np.mean(rotated_N**2 / scales_N)), 1e-300)
            likelihood = -0.5 * (len(y_N) * np.log(variance) + float(np.log(scales_N).sum()))
            if likelihood > best:
                best, settings = likelihood, Settings(length=float(length), noise=float(noise), variance=variance)
    return settings
