"""Latencies before they are measured: known ones as they are, others predicted, with bounds.

Predictions are never recorded or reported: they say what is worth proposing and measuring. Whether a network is
within the budget is decided by its measured latency alone.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from mvit2_search.arch import ArchConfig
from mvit2_search.predict import LEAST_MEASURED, LatencyPredictor
from mvit2_search.records import Latency
from mvit2_search.sampler import Span
from mvit2_search.search.forecast import Forecast
from mvit2_search.search.networks import Network

_MORE = 1.1  # the predictor is fitted anew when so many times more networks are known
_MOST = 300  # networks that it is fitted to


class Foresight:
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

    def span(self, networks: Sequence[Network], forecast: Forecast) -> Span:
        """Latencies of `networks`; by `forecast` where the predictor cannot say."""
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
        ms_2M[:, guessed] = forecast.bounds_ms(np.array([networks[i].cost.macs for i in guessed]))
        return Span(*ms_2M)

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
