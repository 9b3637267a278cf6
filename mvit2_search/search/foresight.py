"""Latencies before they are measured: kept ones as they are, others predicted, with bounds.

Predictions are never recorded, reported or compared with a budget: they only say what is worth measuring.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from mvit2_search.arch import ArchConfig
from mvit2_search.predict import LEAST_MEASURED, LatencyPredictor
from mvit2_search.sampler import Span
from mvit2_search.search.forecast import Forecast
from mvit2_search.search.networks import Network

_MORE = 1.1  # the predictor is fitted anew when so many times more networks are known
_MOST = 300  # networks that it is fitted to


class Foresight:
    """What is known of latencies on one device.

    Args:
        known: networks and what they take in ms.
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
        """Latencies of `networks`; by `forecast` where the predictor cannot say."""
        ms_2M = forecast.bounds_ms(np.array([network.cost.macs for network in networks]))
        predictor = self._latest_predictor()
        unknown = [i for i, network in enumerate(networks) if network.key not in self._known]
        covered = [i for i in unknown if predictor is not None and predictor.covers(networks[i].arch)]
        if predictor is not None:
            for i, found in zip(covered, predictor.predict([networks[i].arch for i in covered]), strict=True):
                ms_2M[:, i] = found.latency_ms, found.high_ms
        for i in set(range(len(networks))).difference(unknown):
            ms_2M[:, i] = self._known[networks[i].key][1]
        return Span(*ms_2M)

    def _latest_predictor(self) -> LatencyPredictor | None:
        """Fitted to the newest networks, and anew when there are a tenth more; None while there are too few."""
        if len(self._known) < LEAST_MEASURED:
            return None
        if self._predictor is None or len(self._known) > _MORE * self._fitted:
            archs, latencies_ms = zip(*list(self._known.values())[-_MOST:], strict=True)
            self._predictor = LatencyPredictor(archs, latencies_ms, num_classes=self._num_classes)
            self._fitted = len(self._known)
        return self._predictor
