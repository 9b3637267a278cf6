"""Candidates, and what the front is expected to gain from each."""

from collections.abc import Hashable, Sequence, Set

import numpy as np

from mvit2_search.errors import MeasurementError
from mvit2_search.sampler.domain import Domain, Params
from mvit2_search.sampler.encoding import Encoding
from mvit2_search.sampler.gain import Front
from mvit2_search.sampler.surrogate import Surrogate

_MAX_MEASURED = 3
_CLEARLY = 0.8


class Choice:
    """Grows by `add`; `choose` gives the best and measures where its latency could change the choice."""

    def __init__(
        self, surrogate: Surrogate, front: Front, *, encoding: Encoding, domain: Domain, seen: Set[Hashable]
    ) -> None:
        self._surrogate, self._front = surrogate, front
        self._seen = set(seen)
        self._encoding, self._domain = encoding, domain
        self.params: list[Params] = []
        self._mean_M, self._sigma_M = np.empty(0), np.empty(0)
        self._gain_M, self._least_M = np.empty(0), np.empty(0)  # expected, and at the longest latency

    def add(self, params: Sequence[Params]) -> None:
        """Consider these too, as far as they have not been seen."""
        if new := self._domain.unseen(params, self._seen):
            self._seen |= new.keys()
            params = list(new.values())
            mean_M, sigma_M = self._surrogate.predict(self._encoding.encode(params))
            span = self._domain.latency(params)
            self.params += params
            self._mean_M, self._sigma_M = np.r_[self._mean_M, mean_M], np.r_[self._sigma_M, sigma_M]
            self._gain_M = np.r_[self._gain_M, self._front.expected_gain(mean_M, sigma_M, span.ms_M)]
            self._least_M = np.r_[self._least_M, self._front.expected_gain(mean_M, sigma_M, span.high_M)]

    def best(self, count: int) -> list[Params]:
        """The `count` most promising."""
        return [self.params[i] for i in np.argsort(-self._gain_M, kind="stable")[:count]]

    def choose(self) -> Params | None:
        """The most promising; None where nothing is gained. It is measured first where at its longest latency it
        would be clearly less promising than another one."""
        for _ in range(_MAX_MEASURED):
            if self._domain.measure is None or not self._is_unsure():
                break
            self._measure(int(np.argmax(self._gain_M)))
        return self.params[int(np.argmax(self._gain_M))] if self._gain_M.max(initial=0) > 0 else None

    def _is_unsure(self) -> bool:
        order = np.argsort(-self._gain_M, kind="stable")
        return len(order) > 1 and bool(self._least_M[order[0]] < _CLEARLY * self._gain_M[order[1]])

    def _measure(self, i: int) -> None:
        assert self._domain.measure is not None
        try:
            ms = self._domain.measure(self.params[i])
        except MeasurementError:  # as a trial of its own it would fail
            ms = np.inf
        gain = self._front.expected_gain(self._mean_M[[i]], self._sigma_M[[i]], np.array([ms]))[0]
        self._gain_M[i] = self._least_M[i] = gain
