"""Latencies before they are measured: kept ones as they are, others predicted, with bounds.

Predictions are never recorded, reported or compared with a budget: they only say what is worth measuring.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from mvit2_search.arch import ArchConfig
from mvit2_search.errors import SpecError
from mvit2_search.predict import LEAST_MEASURED, LatencyPredictor
from mvit2_search.sampler import Span
from mvit2_search.search.forecast import Forecast
from mvit2_search.search.networks import Network

_MORE = 1.1  # the predictor is fitted anew when so many times more networks are known


class Foresight:
    """What is known of latencies on one device.

    Args:
        known: networks and what they take in ms; at least one.
    """

    def __init__(self, known: Iterable[tuple[ArchConfig, float]], num_classes: int) -> None:
        self._num_classes = num_classes
        self._known = {arch.key: (arch, ms) for arch, ms in known}
        self._predictor: LatencyPredictor | None = None
        self._fitted = 0

    def learn(self, arch: ArchConfig, latency_ms: float) -> None:
        """A latency that has been measured."""
        self._known[arch.key] = (arch, latency_ms)

    def span(self, networks: Sequence[Network], forecast: Forecast) -> Span:
        """Latencies of `networks`; by `forecast` where too little is known for the predictor."""
        bounds_3M = self._predicted(networks)
        if bounds_3M is None:
            bounds_3M = forecast.bounds_ms(np.array([network.cost.macs for network in networks]))
        for i, network in enumerate(networks):
            if network.key in self._known:
                bounds_3M[:, i] = self._known[network.key][1]
        return Span(*bounds_3M)

    def _predicted(self, networks: Sequence[Network]) -> np.ndarray | None:
        """Low, expected and high, of shape 3 x M; None where the predictor has nothing to say."""
        if len(self._known) < LEAST_MEASURED:
            return None
        if self._predictor is None or len(self._known) > _MORE * self._fitted:
            archs, latencies_ms = zip(*self._known.values(), strict=True)
            self._predictor = LatencyPredictor(archs, latencies_ms, num_classes=self._num_classes)
            self._fitted = len(archs)
        try:
            found = self._predictor.predict([network.arch for network in networks])
        except SpecError:  # a mixer or a kernel that none of the measured has
            return None
        return np.array([(one.low_ms, one.latency_ms, one.high_ms) for one in found]).T
