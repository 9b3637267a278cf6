"""Guessed latencies: they decide which networks are worth measuring, and are never recorded or reported.

Whether a network is within the budget is decided by its measured latency alone.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.cost import Cost, network_cost
from mvit2_search.arch.head import Head
from mvit2_search.predict.predictor import LEAST_MEASURED, LatencyPredictor
from mvit2_search.records import Latency, Limits

_ENOUGH_FOR_ERROR = 5  # networks that the error of a power law is computed from
_USUAL_ERROR = 0.2  # of the logarithm, while there are fewer
_REFIT_FACTOR = 1.1  # a predictor is fitted anew when so many times more networks are known
_MOST_FITTED = 300  # networks that it is fitted to, the latest


class PowerLaw:
    """Latency as a power of multiply-adds, fitted to the networks measured so far.

    Args:
        macs, latency_ms: at least one measured network.
    """

    def __init__(self, macs: Sequence[int], latency_ms: Sequence[float]) -> None:
        slope = 1.0
        if len(set(macs)) > 1:
            slope = float(np.polyfit(np.log(macs), np.log(latency_ms), 1)[0])
        self._slope = max(slope, 0.1)  # more work never takes less time
        rest = np.log(latency_ms) - self._slope * np.log(macs)
        self._factor = float(np.exp(np.mean(rest)))
        self._error = 2 * float(rest.std(ddof=2)) if len(rest) >= _ENOUGH_FOR_ERROR else _USUAL_ERROR

    def latency_ms(self, macs: int) -> float:
        return float(self._factor * macs**self._slope)

    def bounds_ms(self, macs_M: np.ndarray) -> np.ndarray:
        """The expected latencies and what about one in forty exceeds, of shape 2 x M."""
        expected_M = self._factor * macs_M.astype(float) ** self._slope
        return np.outer(np.exp([0.0, self._error]), expected_M)


@dataclass(frozen=True, slots=True)
class Guess:
    """How much of the limits a network will use, guessed from its cost."""

    law: PowerLaw
    limits: Limits

    def share_of_limits(self, cost: Cost) -> float:
        """Of the latency or the parameters, whichever share is larger; above 1 a limit is exceeded."""
        share = self.law.latency_ms(cost.macs) / self.limits.latency_ms
        return share if self.limits.max_params is None else max(share, cost.params / self.limits.max_params)


class Network:
    """An architecture with its key, cost and estimate, each computed once."""

    def __init__(self, arch: ArchConfig, head: Head) -> None:
        self.arch = arch
        self.key = arch.key
        self._head = head
        self._estimate_ms: float | None = None

    @cached_property
    def cost(self) -> Cost:
        return network_cost(self.arch, self._head)

    def estimate_ms(self, estimate: Callable[[ArchConfig], float]) -> float:
        """`estimate` of the architecture, the same function in every call: the first answer is kept."""
        if self._estimate_ms is None:
            self._estimate_ms = estimate(self.arch)
        return self._estimate_ms


@dataclass(frozen=True, slots=True)
class LatencyBounds:
    """Expected latencies and upper bounds, in ms, of shape M each; infinite for what is never worth a training."""

    ms_M: np.ndarray
    high_M: np.ndarray


def exactly(ms_M: np.ndarray) -> LatencyBounds:
    """Of latencies that are known, and so are their own upper bounds."""
    return LatencyBounds(ms_M, ms_M)


class LatencyGuesses:
    """Guesses from all latencies that are known on one device.

    They depend on the known latencies and their order alone, so that a resumed search guesses the same.

    Args:
        known: networks and their latencies, in the order in which they were asked for.
    """

    def __init__(self, known: Iterable[tuple[ArchConfig, Latency]], head: Head) -> None:
        self._head = head
        self._known = {arch.key: (arch, latency) for arch, latency in known}
        self._predictor: LatencyPredictor | None = None
        self._fitted = 0

    def add(self, arch: ArchConfig, latency: Latency) -> None:
        """Add a measured latency, or replace the one of the same network."""
        self._known[arch.key] = (arch, latency)

    def bounds(self, networks: Sequence[Network], law: PowerLaw) -> LatencyBounds:
        """Of `networks`: known latencies, else those of the predictor, else those by `law`."""
        predictor = self._latest_predictor()
        ms_2M = np.empty((2, len(networks)))
        predicted: list[int] = []
        by_law: list[int] = []
        for i, network in enumerate(networks):
            if network.key in self._known:
                ms_2M[:, i] = self._known[network.key][1].latency_ms
            else:
                (predicted if predictor is not None and predictor.covers(network.arch) else by_law).append(i)
        if predictor is not None:
            for i, found in zip(predicted, predictor.predict([networks[i].arch for i in predicted]), strict=True):
                ms_2M[:, i] = found.latency_ms, found.high_ms
        ms_2M[:, by_law] = law.bounds_ms(np.array([networks[i].cost.macs for i in by_law]))
        return LatencyBounds(*ms_2M)

    def _latest_predictor(self) -> LatencyPredictor | None:
        """Fitted to the latest of the first `fitted_count` known networks; None while there are too few."""
        count = fitted_count(len(self._known))
        if count != self._fitted:
            known = list(self._known.values())[:count][-_MOST_FITTED:]
            archs, latencies_ms = zip(*((arch, latency.latency_ms) for arch, latency in known), strict=True)
            self._predictor = LatencyPredictor(archs, latencies_ms, head=self._head)
            self._fitted = count
        return self._predictor


def fitted_count(known: int) -> int:
    """How many of `known` networks the predictor is fitted to: 20, 22, 25 and so on; 0 below 20."""
    count = 0
    following = LEAST_MEASURED
    while following <= known:
        count, following = following, math.ceil(_REFIT_FACTOR * following)
    return count
