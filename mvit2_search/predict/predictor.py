"""Latencies on a device, predicted from those measured on it.

A latency is a sum of amounts of work, each with a price, times a correction that a Gaussian process predicts from
the shape of the network.

Shape letters: N measured networks, M predicted ones, W amounts of work, F features. `y_N` are logarithms.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import nnls
from scipy.spatial.distance import cdist

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.cost import BLOCKS, KINDS, network_operators
from mvit2_search.arch.head import IMAGENET, Head
from mvit2_search.errors import SpecError
from mvit2_search.records import Prediction

LEAST_MEASURED = 20
_LANES = (1, 8, 16, 32)  # multiples that a runtime may round channel counts up to
_FOLDS = 10
_COVERAGE = 0.95
# settings whose values must have been measured for a latency to be predicted
_CATEGORIES = ("family", "attention", "kernel_sizes", "patch_sizes", "image_size")
_LENGTHS = np.geomspace(0.5, 64, 15)  # in standard deviations of a feature, times the root of their number
_NOISES = np.geomspace(1e-3, 1e3, 25)  # variance of the noise over that of the process
_WIDTHS = (
    "stem_channels",
    "stage_channels",
    "expanded_channels",
    "attention_dims",
    "ffn_dims",
    "final_channels",
)
WORK = (
    "networks",
    "operators",
    *(f"{kind} GMACs" for kind in KINDS[:-1]),
    *(f"{block} Melements" for block in BLOCKS),
)


def work(archs: Sequence[ArchConfig], lanes: int, head: Head) -> np.ndarray:
    """Amounts of work, each of which costs time: one row per architecture and one column per name in `WORK`.

    Args:
        lanes: channel counts are rounded up to a multiple of it. A runtime that computes so many channels at once
            takes as long for a partial group as for a full one.
    """
    return np.array([_work(_padded(arch, lanes), head) for arch in archs])


def _work(arch: ArchConfig, head: Head) -> list[float]:
    macs_of, elements_of = dict.fromkeys(KINDS, 0), dict.fromkeys(BLOCKS, 0)
    operators = network_operators(arch, head)
    for operator in operators:
        macs_of[operator.kind] += operator.macs
        elements_of[operator.block] += operator.elements
    arithmetic = [macs_of[kind] / 1e9 for kind in KINDS[:-1]]
    return [1.0, float(len(operators)), *arithmetic, *(elements_of[block] / 1e6 for block in BLOCKS)]


def _padded(arch: ArchConfig, lanes: int) -> ArchConfig:
    def up(counts: Any) -> Any:
        return tuple(map(up, counts)) if isinstance(counts, tuple) else -(-counts // lanes) * lanes

    return arch if lanes == 1 else replace(arch, **{name: up(getattr(arch, name)) for name in _WIDTHS})


def shape(archs: Sequence[ArchConfig]) -> np.ndarray:
    """Channel counts and depths, one row per architecture: networks with similar rows have similar latencies."""
    return np.array([_shape(arch) for arch in archs], dtype=float)


def _shape(arch: ArchConfig) -> list[float]:
    hidden = [sum(row) / len(row) for row in arch.expanded_channels]
    depths = [len(row) for row in arch.expanded_channels]
    blocks = (*arch.attention_dims, *arch.ffn_dims, *arch.attention_layers)
    return [arch.stem_channels, *arch.stage_channels, *hidden, *depths, *blocks]


class LatencyPredictor:
    """Prices of the amounts in `WORK`, and a Gaussian process for what they leave unexplained.

    The interval is the process's, scaled so that it would have covered 95 % of the measured networks when each
    tenth of them was left out.

    Args:
        latencies_ms: measured, in the order of `archs`.

    Raises:
        SpecError: fewer than 20 networks, or a latency that is not above 0.
    """

    def __init__(
        self, archs: Sequence[ArchConfig], latencies_ms: Sequence[float], *, head: Head = IMAGENET
    ) -> None:
        if len(archs) < LEAST_MEASURED or not min(latencies_ms) > 0:
            raise SpecError(f"a predictor needs {LEAST_MEASURED} measured networks, found {len(archs)}")
        self._head = head
        self._seen = {pair for arch in archs for pair in _categories(arch)}
        y_N, shape_NF = np.log(latencies_ms), shape(archs)
        works = {lanes: work(archs, lanes, head) for lanes in _LANES}
        self.lanes = min(_LANES, key=lambda lanes: _left_out_error(works[lanes], y_N))
        self._model = _Model(works[self.lanes], shape_NF, y_N)
        self._reach = _reach(works[self.lanes], shape_NF, y_N, self._model.process.hyperparameters)
        self.description = f"Gaussian process over prices of work, fitted to {len(archs)} measured networks"

    def predict(self, archs: Sequence[ArchConfig]) -> list[Prediction]:
        """One prediction for each.

        Raises:
            SpecError: a network has a token mixer, kernel, patch or image size that none of the measured has.
        """
        if new := [pair for arch in archs for pair in _categories(arch) if pair not in self._seen]:
            name, value = new[0]
            raise SpecError(f"{name}: no measured network has {value!r}; the latency cannot be predicted")
        if not archs:
            return []
        mean_M, sigma_M = self._model.predict(work(archs, self.lanes, self._head), shape(archs))
        bounds = np.exp(np.stack([mean_M, mean_M - self._reach * sigma_M, mean_M + self._reach * sigma_M], 1))
        return [
            Prediction(latency_ms=middle, low_ms=low, high_ms=high, predictor=self.description)
            for middle, low, high in bounds.tolist()
        ]

    def covers(self, arch: ArchConfig) -> bool:
        """Whether `predict` accepts it."""
        return self._seen.issuperset(_categories(arch))


def _categories(arch: ArchConfig) -> list[tuple[str, Any]]:
    """`("attention", "separable")` and so on: each setting with each of its values."""
    return [(name, value) for name in _CATEGORIES for value in as_tuple(getattr(arch, name))]


def as_tuple(value: Any) -> tuple[Any, ...]:
    """A setting by stage as it is; one of the whole network in a tuple of its own."""
    return value if isinstance(value, tuple) else (value,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Hyperparameters:
    """Length scale, variance of the noise over that of the process, and variance of the process."""

    length: float
    noise: float
    variance: float


class GaussianProcess:
    """Gaussian-process regression: zero mean, squared-exponential kernel, independent noise.

    Args:
        x_NF, y_N: features and values. Features are standardised here; one that never varies has no weight.
        hyperparameters: by default those of the highest likelihood.
    """

    def __init__(self, x_NF: np.ndarray, y_N: np.ndarray, hyperparameters: Hyperparameters | None = None) -> None:
        self._mean_F, spread_F = x_NF.mean(0), x_NF.std(0)
        varies_F = spread_F > 1e-12
        self._weight_F = np.where(varies_F, 1, 0) / np.where(varies_F, spread_F, 1) / max(varies_F.sum(), 1) ** 0.5
        self._z_NF = (x_NF - self._mean_F) * self._weight_F
        self.hyperparameters = found = hyperparameters or most_likely(self._z_NF, y_N)
        covariance_NN = kernel(self._z_NF, self._z_NF, found.length) + found.noise * np.eye(len(y_N))
        self._inverse_NN = np.linalg.inv(covariance_NN)
        self._alpha_N = self._inverse_NN @ y_N

    def predict(self, x_MF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of a new value, its noise included, of shape M each."""
        z_MF = (x_MF - self._mean_F) * self._weight_F
        k_MN = kernel(z_MF, self._z_NF, self.hyperparameters.length)
        explained_M = np.einsum("mn,nk,mk->m", k_MN, self._inverse_NN, k_MN, optimize=True)
        variance_M = self.hyperparameters.variance * (1 + self.hyperparameters.noise - explained_M)
        return k_MN @ self._alpha_N, np.sqrt(np.maximum(variance_M, 0))


def kernel(a_MF: np.ndarray, b_NF: np.ndarray, length: float) -> np.ndarray:
    k_MN: np.ndarray = np.exp(-0.5 * cdist(a_MF, b_NF, "sqeuclidean") / length**2)
    return k_MN


def most_likely(z_NF: np.ndarray, y_N: np.ndarray) -> Hyperparameters:
    """Those of the highest marginal likelihood: of a grid of lengths and noises, each with its best variance."""
    best, found = -np.inf, Hyperparameters(length=1.0, noise=1.0, variance=0.0)
    for length in _LENGTHS:
        values_N, vectors_NN = np.linalg.eigh(kernel(z_NF, z_NF, length))
        rotated_N = vectors_NN.T @ y_N
        for noise in _NOISES:
            scales_N = np.maximum(values_N, 0) + noise
            variance = max(float(np.mean(rotated_N**2 / scales_N)), 1e-300)
            likelihood = -0.5 * (len(y_N) * np.log(variance) + float(np.log(scales_N).sum()))
            if likelihood > best:
                best = likelihood
                found = Hyperparameters(length=float(length), noise=float(noise), variance=variance)
    return found


class _Model:
    """Prices and process: `log(latency) = log(work @ prices) + process(shape) + noise`."""

    def __init__(
        self,
        work_NW: np.ndarray,
        shape_NF: np.ndarray,
        y_N: np.ndarray,
        hyperparameters: Hyperparameters | None = None,
    ) -> None:
        self._prices_W = prices(work_NW, np.exp(y_N))
        self.process = GaussianProcess(shape_NF, y_N - np.log(work_NW @ self._prices_W), hyperparameters)

    def predict(self, work_MW: np.ndarray, shape_MF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the logarithm of each latency."""
        rest_M, sigma_M = self.process.predict(shape_MF)
        return np.log(work_MW @ self._prices_W) + rest_M, sigma_M


def prices(amounts_NF: np.ndarray, latency_N: np.ndarray) -> np.ndarray:
    """What a unit of each amount costs, none negative, by least squares of relative errors; of shape F.

    Columns are scaled, so that the solver meets no extreme numbers.
    """
    relative_NF = amounts_NF / latency_N[:, None]
    scale_F = np.maximum(relative_NF.max(0), 1e-300)
    prices_F: np.ndarray = nnls(relative_NF / scale_F, np.ones(len(latency_N)))[0] / scale_F
    return prices_F


def _left_out_error(work_NW: np.ndarray, y_N: np.ndarray) -> float:
    """Mean square of the logarithm's error where prices are fitted without each fold in turn."""
    latency_N = np.exp(y_N)
    errors = [
        y_N[out] - np.log(work_NW[out] @ prices(work_NW[kept], latency_N[kept])) for kept, out in _folds(len(y_N))
    ]
    return float(np.mean(np.concatenate(errors) ** 2))


def _reach(work_NW: np.ndarray, shape_NF: np.ndarray, y_N: np.ndarray, hyperparameters: Hyperparameters) -> float:
    """How many standard deviations the interval must reach to cover 95 % of the left-out networks."""
    scores: list[np.ndarray] = []
    for kept, out in _folds(len(y_N)):
        model = _Model(work_NW[kept], shape_NF[kept], y_N[kept], hyperparameters)
        mean, sigma = model.predict(work_NW[out], shape_NF[out])
        scores.append(np.abs(y_N[out] - mean) / np.maximum(sigma, 1e-12))
    rank = min(np.ceil(_COVERAGE * (len(y_N) + 1)) / len(y_N), 1.0)  # of conformal prediction
    return float(np.quantile(np.concatenate(scores), rank, method="inverted_cdf"))


def _folds(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Indices kept and left out; every `_FOLDS`-th network is in the same fold."""
    fold_N = np.arange(count) % _FOLDS
    return [(np.flatnonzero(fold_N != f), np.flatnonzero(fold_N == f)) for f in range(_FOLDS)]
