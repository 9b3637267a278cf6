"""The latency predictor: forms of a latency law, and Gaussian processes for what they leave.

Forms that a handful of latencies can be fitted to: two parameters each, with the error of the left-out.

Gaussian-process regression with three settings, found on a grid: the same result every time.

Latencies of one device, predicted from those measured on it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls
from scipy.spatial.distance import cdist
from scipy.stats import t

from mvit2_search.arch import ArchConfig
from mvit2_search.errors import SpecError
from mvit2_search.predict.features import shape, work
from mvit2_search.records import Prediction

Fit = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """`fit(x_NF, y_N, x_MF)` gives latencies of `x_MF` and the half-widths of their relative 95 % intervals."""

    name: str
    fit: Fit

    def leave_one_out(self, x_NF: np.ndarray, y_N: np.ndarray) -> np.ndarray:
        """The relative error of each when it is predicted from the others."""
        rows = np.arange(len(y_N))
        left_out = [self.fit(x_NF[rows != i], y_N[rows != i], x_NF[[i]])[0][0] for i in rows]
        errors_N: np.ndarray = np.array(left_out) / y_N - 1
        return errors_N


def fit_prices(x_NF: np.ndarray, y_N: np.ndarray, x_MF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A price for each column, none negative, by least squares of relative errors."""
    relative_NF = x_NF / y_N[:, None]
    prices_F = nnls(relative_NF, np.ones(len(y_N)))[0]
    fitted_M = x_MF @ prices_F
    used_F = prices_F > 0
    return fitted_M, _margin(
        relative_NF[:, used_F], 1 - relative_NF @ prices_F, (x_MF / fitted_M[:, None])[:, used_F]
    )


def fit_power(x_NF: np.ndarray, y_N: np.ndarray, x_MF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A power of the first column, by least squares of logarithms."""
    design_NP, design_MP = (np.stack([np.ones(len(x)), np.log(x[:, 0])], 1) for x in (x_NF, x_MF))
    powers_P = np.linalg.lstsq(design_NP, np.log(y_N), rcond=None)[0]
    return np.exp(design_MP @ powers_P), _margin(design_NP, np.log(y_N) - design_NP @ powers_P, design_MP)


def _margin(design_NP: np.ndarray, residual_N: np.ndarray, design_MP: np.ndarray) -> np.ndarray:
    """Half-width of Student's prediction interval; infinite where no degree of freedom is left."""
    freedom = len(residual_N) - design_NP.shape[1]
    if freedom < 1:
        return np.full(len(design_MP), np.inf)
    leverage_M = np.einsum("mp,pq,mq->m", design_MP, np.linalg.pinv(design_NP.T @ design_NP), design_MP)
    variance = float(residual_N @ residual_N) / freedom
    margin_M: np.ndarray = float(t.ppf(0.975, freedom)) * np.sqrt(variance * (1 + leverage_M))
    return margin_M


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


LEAST_MEASURED = 20
_LANES = (1, 8, 16, 32)  # what runtimes may round channel counts up to
_FOLDS = 10
_COVERAGE = 0.95
_CATEGORIES: dict[str, Callable[[ArchConfig], set[object]]] = {
    "family": lambda arch: {arch.family},
    "attention": lambda arch: set(arch.attention),
    "kernel_sizes": lambda arch: set(arch.kernel_sizes),
    "patch_sizes": lambda arch: set(arch.patch_sizes),
    "image_size": lambda arch: {arch.image_size},
}


class LatencyPredictor:
    """What each kind of work costs, and a Gaussian process for what that leaves.

    The latency is a sum of amounts of work (`features.WORK`) with prices that are not negative, fitted to relative
    errors. A Gaussian process over the shape of the network predicts the logarithm of what remains. The interval
    is the process's, stretched so that it would have covered 95 % of the measured when each tenth was left out.

    Args:
        latencies_ms: measured, in the order of `archs`.

    Raises:
        SpecError: fewer than 20 networks, or a latency that is not above 0.
    """

    def __init__(
        self, archs: Sequence[ArchConfig], latencies_ms: Sequence[float], *, num_classes: int = 1000
    ) -> None:
        if len(archs) < LEAST_MEASURED or not min(latencies_ms) > 0:
            raise SpecError(f"a predictor needs {LEAST_MEASURED} measured networks, found {len(archs)}")
        self._num_classes = num_classes
        self._seen = {name: set().union(*map(of, archs)) for name, of in _CATEGORIES.items()}
        y_N, shape_NF = np.log(latencies_ms), shape(archs)
        works = {lanes: work(archs, lanes, num_classes) for lanes in _LANES}
        self.lanes = min(_LANES, key=lambda lanes: _left_out_error(works[lanes], y_N))
        self._model = _Model(works[self.lanes], shape_NF, y_N)
        self._stretch = _stretch(works[self.lanes], shape_NF, y_N, self._model.process.settings)
        self.description = f"Gaussian process over prices of work, fitted to {len(archs)} measured networks"

    def predict(self, archs: Sequence[ArchConfig]) -> list[Prediction]:
        """One prediction for each.

        Raises:
            SpecError: a network has a token mixer, kernel, patch or image size that none of the measured has.
        """
        for arch in archs:
            self._check(arch)
        if not archs:
            return []
        mean_M, sigma_M = self._model.predict(work(archs, self.lanes, self._num_classes), shape(archs))
        bounds = np.exp(np.stack([mean_M, mean_M - self._stretch * sigma_M, mean_M + self._stretch * sigma_M], 1))
        return [
            Prediction(latency_ms=middle, low_ms=low, high_ms=high, predictor=self.description)
            for middle, low, high in bounds.tolist()
        ]

    def covers(self, arch: ArchConfig) -> bool:
        """Whether `predict` takes it."""
        return all(of(arch) <= self._seen[name] for name, of in _CATEGORIES.items())

    def _check(self, arch: ArchConfig) -> None:
        for name, of in _CATEGORIES.items():
            if new := of(arch) - self._seen[name]:
                raise SpecError(f"{name}: no measured network has {new.pop()!r}; the latency cannot be predicted")


class _Model:
    """Prices and process: `log(latency) = log(work @ prices) + process(shape) + noise`."""

    def __init__(
        self, work_NW: np.ndarray, shape_NF: np.ndarray, y_N: np.ndarray, settings: Settings | None = None
    ) -> None:
        self._prices_W = _prices(work_NW, y_N)
        self.process = GaussianProcess(shape_NF, y_N - np.log(work_NW @ self._prices_W), settings)

    def predict(self, work_MW: np.ndarray, shape_MF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the logarithm of each latency."""
        rest_M, sigma_M = self.process.predict(shape_MF)
        return np.log(work_MW @ self._prices_W) + rest_M, sigma_M


def _prices(work_NW: np.ndarray, y_N: np.ndarray) -> np.ndarray:
    """Least squares of relative errors; every column is scaled, so that the solver meets no extreme numbers."""
    relative_NW = work_NW / np.exp(y_N)[:, None]
    scale_W = np.maximum(relative_NW.max(0), 1e-300)
    prices_W: np.ndarray = nnls(relative_NW / scale_W, np.ones(len(y_N)))[0] / scale_W
    return prices_W


def _left_out_error(work_NW: np.ndarray, y_N: np.ndarray) -> float:
    """Mean square of the logarithm's error when prices are fitted without each fold."""
    errors = [
        y_N[out] - np.log(work_NW[out] @ _prices(work_NW[kept], y_N[kept])) for kept, out in _folds(len(y_N))
    ]
    return float(np.mean(np.concatenate(errors) ** 2))


def _stretch(work_NW: np.ndarray, shape_NF: np.ndarray, y_N: np.ndarray, settings: Settings) -> float:
    """How many standard deviations the interval must reach to cover 95 % of the left-out networks."""
    scores: list[np.ndarray] = []
    for kept, out in _folds(len(y_N)):
        model = _Model(work_NW[kept], shape_NF[kept], y_N[kept], settings)
        mean, sigma = model.predict(work_NW[out], shape_NF[out])
        scores.append(np.abs(y_N[out] - mean) / np.maximum(sigma, 1e-12))
    rank = min(np.ceil(_COVERAGE * (len(y_N) + 1)) / len(y_N), 1.0)  # as conformal prediction has it
    return float(np.quantile(np.concatenate(scores), rank, method="inverted_cdf"))


def _folds(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Indices kept and left out; every `_FOLDS`-th network is in the same fold."""
    fold_N = np.arange(count) % _FOLDS
    return [(np.flatnonzero(fold_N != f), np.flatnonzero(fold_N == f)) for f in range(_FOLDS)]
