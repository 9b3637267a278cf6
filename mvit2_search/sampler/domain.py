"""What the sampler knows of networks before they are trained."""

from collections.abc import Callable, Hashable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution

from mvit2_search.predict.guess import LatencyBounds

Params = Mapping[str, Any]


def values(params: Params) -> Hashable:
    """What tells networks apart where every combination of values is another one."""
    return tuple(params.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class Domain:
    """Where to search.

    Attributes:
        latency: what is known of the latency of networks.
        limit_ms: the budget; what takes as long or longer gains nothing.
        key: equal for equal networks.
        cheapest: of a large space, the values that a random network is moved towards to fit a budget.
        every: all networks that are left, where they are few.
        measure: finds out the latency in ms of one network, where that costs less than a training; it may raise
            `errors.MeasurementError`.
    """

    distributions: Mapping[str, BaseDistribution]
    latency: Callable[[Sequence[Params]], LatencyBounds]
    limit_ms: float
    key: Callable[[Params], Hashable] = values
    cheapest: Params | None = None
    every: Callable[[], Sequence[Params] | None] = lambda: None
    measure: Callable[[Params], float] | None = None

    def unseen(self, params: Sequence[Params], seen: Set[Hashable]) -> dict[Hashable, Params]:
        """Those whose keys are not among `seen`, each once, by key."""
        found = {self.key(one): one for one in params}
        return {key: one for key, one in found.items() if key not in seen}
