"""What becomes of one architecture: its latency first, then, if it is worth it, its accuracy."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from mvit2_search.arch import ArchConfig
from mvit2_search.complexity import network_cost
from mvit2_search.data import Dataset
from mvit2_search.errors import MeasurementError, TrainingError
from mvit2_search.latencies import Latencies
from mvit2_search.proxies import Proxy
from mvit2_search.records import Failed, Finished, Infeasible, Latency, Outcome, Stopped
from mvit2_search.search.events import Listener
from mvit2_search.search.seam import accuracies_pct
from mvit2_search.verdict import Limits

ShouldStop = Callable[[Sequence[float], float], bool]
"""Whether to stop, of the accuracies after each epoch so far and the latency in ms."""


class Evaluator:
    """Turns architectures into outcomes."""

    def __init__(
        self,
        latencies: Latencies,
        dataset: Dataset,
        *,
        proxy: Proxy,
        limits: Limits,
        seed: int,
        listener: Listener,
    ) -> None:
        self.latencies = latencies
        self._dataset = dataset
        self._proxy = proxy
        self._limits = limits
        self._seed = seed
        self._listener = listener
        self._found: dict[str, Latency] = {}  # by key, of networks that are no trial yet

    def outcome(
        self, arch: ArchConfig, *, train_anyway: bool = False, should_stop: ShouldStop | None = None
    ) -> Outcome:
        """Time `arch` and, within the limits or where `train_anyway`, train it with the search's seed.

        Args:
            should_stop: asked after each epoch; the training ends where it says so.
        """
        try:
            latency = self.latency(arch)
            del self._found[arch.key]
        except MeasurementError as err:
            return Failed(reason="measurement", message=str(err))
        params = network_cost(arch, len(self._dataset.classes)).params
        if not (train_anyway or self._limits.allow(latency, params)):
            return Infeasible(latency=latency)
        try:
            return self._trained(arch, latency, should_stop)
        except TrainingError as err:
            return Failed(reason="training", message=str(err))

    def latency(self, arch: ArchConfig) -> Latency:
        """What `arch` takes, found out once for each time that it is used; raises MeasurementError."""
        if arch.key not in self._found:
            self._listener.working("finding the latency")
            self._found[arch.key] = self.latencies.of(arch)
        return self._found[arch.key]

    def train(
        self, arch: ArchConfig, seed: int, test_on: Literal["selection", "confirmation"]
    ) -> tuple[float, ...]:
        """Accuracies after each epoch; raises TrainingError."""
        return tuple(self._epochs(arch, seed, test_on))

    def _trained(self, arch: ArchConfig, latency: Latency, should_stop: ShouldStop | None) -> Finished | Stopped:
        curve: list[float] = []
        for accuracy_pct in self._epochs(arch, self._seed, "selection"):
            curve.append(accuracy_pct)
            if should_stop is not None and should_stop(curve, latency.latency_ms):
                return Stopped(curve_pct=tuple(curve), latency=latency)
        return Finished(accuracy_pct=curve[-1], curve_pct=tuple(curve), latency=latency)

    def _epochs(
        self, arch: ArchConfig, seed: int, test_on: Literal["selection", "confirmation"]
    ) -> Iterator[float]:
        """The accuracy after each epoch; what is not asked for is not trained."""
        self._listener.working("training")
        scores = accuracies_pct(lambda: self._proxy.run(arch, self._dataset, seed=seed, test_on=test_on))
        for epoch, accuracy_pct in enumerate(scores, start=1):
            self._listener.working(f"training, epoch {epoch}: {accuracy_pct:.1f} %")
            yield accuracy_pct
