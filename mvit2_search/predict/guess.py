"""Latencies before they are measured, to decide what is worth measuring. They are never recorded or reported.

Whether a network is within the budget is decided by its measured latency alone.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.cost import Cost, network_cost
from mvit2_search.errors import MeasurementError
from mvit2_search.predict.predictor import LEAST_MEASURED, LatencyPredictor
from mvit2_search.records import Latency, Limits

_ENOUGH, _UNKNOWN_ERROR = 5, 0.2  # networks that tell how far off the law is; until then, of the logarithm


class PowerLaw:
    """A power law through the latencies measured so far.

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
        self._error = 2 * float(rest.std(ddof=2)) if len(rest) >= _ENOUGH else _UNKNOWN_ERROR

    def latency_ms(self, macs: int) -> float:
        return float(self._factor * macs**self._slope)

    def bounds_ms(self, macs_M: np.ndarray) -> np.ndarray:
        """Expected, and above which about one in forty latencies lies, of shape 2 x M."""
        expected_M = self._factor * macs_M.astype(float) ** self._slope
        return np.outer(np.exp([0.0, self._error]), expected_M)


class Network:
    """An architecture, its key, and what is found out when it is first asked for."""

    def __init__(self, arch: ArchConfig, num_classes: int) -> None:
        self.arch = arch
        self.key = arch.key
        self._num_classes = num_classes
        self._estimate_ms: float | None = None

    @cached_property
    def cost(self) -> Cost:
        return network_cost(self.arch, self._num_classes)

    def estimate_ms(self, quick: Callable[[ArchConfig], float]) -> float:
        """Its latency by an estimate, always the same one; infinite where that knows nothing of such networks."""
        if self._estimate_ms is None:
            try:
                self._estimate_ms = quick(self.arch)
            except MeasurementError:
                self._estimate_ms = math.inf
        return self._estimate_ms


@dataclass(frozen=True, slots=True)
class Guess:
    """What share of the limits a network takes, as far as can be told before it is timed."""

    law: PowerLaw
    limits: Limits

    def share(self, cost: Cost) -> float:
        """Above 1 is too much."""
        share = self.law.latency_ms(cost.macs) / self.limits.latency_ms
        return share if self.limits.max_params is None else max(share, cost.params / self.limits.max_params)


_MORE = 1.1  # the predictor is fitted anew when so many times more networks are known
_MOST = 300  # networks that it is fitted to


@dataclass(frozen=True, slots=True)
class LatencyBounds:
    """Latencies in ms and what they hardly exceed, of shape M each; `inf` is never worth a training."""

    ms_M: np.ndarray
    high_M: np.ndarray


def exactly(ms_M: np.ndarray) -> LatencyBounds:
    """Latencies that are known."""
    return LatencyBounds(ms_M, ms_M)


class LatencyGuesses:
    """What is known of latencies on one device.

    The predictor follows from what is known alone, in its order: a resumed search predicts alike.

    Args:
        known: networks and their latencies, in the order in which they were asked for.
    """

    def __init__(self, known: Iterable[tuple[ArchConfig, Latency]], num_classes: int) -> None:
        self._num_classes = num_classes
        self._known = {arch.key: (arch, latency) for arch, latency in known}
        self._predictor: LatencyPredictor | None = None
        self._fitted = 0

    def learn(self, arch: ArchConfig, latency: Latency) -> None:
        """A latency that has been measured."""
        self._known[arch.key] = (arch, latency)

    def span(self, networks: Sequence[Network], law: PowerLaw) -> LatencyBounds:
        """Latencies of `networks`; by `law` where the predictor cannot say."""
        predictor = self._latest_predictor()
        ms_2M = np.empty((2, len(networks)))
        covered: list[int] = []
        guessed: list[int] = []
        for i, network in enumerate(networks):
            if network.key in self._known:
                ms_2M[:, i] = self._known[network.key][1].latency_ms
            else:
                (covered if predictor is not None and predictor.covers(network.arch) else guessed).append(i)
        if predictor is not None:
            for i, found in zip(covered, predictor.predict([networks[i].arch for i in covered]), strict=True):
                ms_2M[:, i] = found.latency_ms, found.high_ms
        ms_2M[:, guessed] = law.bounds_ms(np.array([networks[i].cost.macs for i in guessed]))
        return LatencyBounds(*ms_2M)

    def _latest_predictor(self) -> LatencyPredictor | None:
        """Fitted to the first `fitted_count` of the known; None while there are too few."""
        count = fitted_count(len(self._known))
        if count != self._fitted:
            known = list(self._known.values())[:count][-_MOST:]
            archs, latencies_ms = zip(*((arch, latency.latency_ms) for arch, latency in known), strict=True)
            self._predictor = LatencyPredictor(archs, latencies_ms, num_classes=self._num_classes)
            self._fitted = count
        return self._predictor


def fitted_count(known: int) -> int:
    """How many of so many known networks the predictor is fitted to: 20, 22, 25 and so on; 0 below 20."""
    count = 0
    following = LEAST_MEASURED
    while following <= known:
        count, following = following, math.ceil(_MORE * following)
    return count
