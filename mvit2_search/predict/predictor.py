"""Latencies of one device, predicted from those measured on it."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import nnls

from mvit2_search.arch import ArchConfig
from mvit2_search.errors import SpecError
from mvit2_search.predict.features import shape, work
from mvit2_search.predict.gaussian import GaussianProcess, Settings
from mvit2_search.records import Prediction

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
