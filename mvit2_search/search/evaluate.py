"""What becomes of one architecture: its latency first, then, if it is worth it, its accuracy."""

from typing import Literal

from mvit2_search.arch import ArchConfig
from mvit2_search.complexity import network_cost
from mvit2_search.data import Dataset
from mvit2_search.errors import MeasurementError, TrainingError
from mvit2_search.latencies import Latencies
from mvit2_search.proxies import Proxy
from mvit2_search.records import Failed, Finished, Infeasible, Latency, Outcome
from mvit2_search.search.events import Listener
from mvit2_search.verdict import Limits


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

    def outcome(self, arch: ArchConfig, *, train_anyway: bool = False) -> Outcome:
        """Time `arch` and, within the limits or where `train_anyway`, train it with the search's seed."""
        try:
            latency = self.latency(arch)
        except MeasurementError as err:
            return Failed(reason="measurement", message=str(err))
        params = network_cost(arch, len(self._dataset.classes)).params
        if not (train_anyway or self._limits.allow(latency, params)):
            return Infeasible(latency=latency)
        try:
            curve = self.train(arch, self._seed, "selection")
        except TrainingError as err:
            return Failed(reason="training", message=str(err))
        return Finished(accuracy_pct=curve[-1], curve_pct=curve, latency=latency)

    def latency(self, arch: ArchConfig) -> Latency:
        """What `arch` takes; raises MeasurementError."""
        self._listener.working("finding the latency")
        return self.latencies.of(arch)

    def train(
        self, arch: ArchConfig, seed: int, test_on: Literal["selection", "confirmation"]
    ) -> tuple[float, ...]:
        """Accuracies after each epoch; raises TrainingError."""
        curve: list[float] = []
        self._listener.working("training")
        for score in self._proxy.run(arch, self._dataset, seed=seed, test_on=test_on):
            curve.append(score.accuracy_pct)
            self._listener.working(f"training, epoch {score.epoch}: {score.accuracy_pct:.1f} %")
        return tuple(curve)
