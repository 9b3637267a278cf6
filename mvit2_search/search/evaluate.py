"""What becomes of one architecture: its latency first, then, if it is worth it, its accuracy."""

import shutil
from pathlib import Path
from typing import Literal

from mvit2_search.arch import ArchConfig
from mvit2_search.complexity import network_cost
from mvit2_search.data import Dataset
from mvit2_search.errors import MeasurementError, StorageError, TrainingError
from mvit2_search.export import export_model
from mvit2_search.latency import Device, Meter
from mvit2_search.proxies import Proxy
from mvit2_search.records import (
    DEFAULT_FORMULATION,
    Artifact,
    Failed,
    Finished,
    FormulationName,
    Infeasible,
    Measurement,
    Outcome,
)
from mvit2_search.search.events import Listener
from mvit2_search.verdict import Limits

_REFERENCE = ArchConfig.mobilevitv2(0.5)  # with 1000 classes: the same for every study
_REFERENCE_CLASSES = 1000


class Timer:
    """Latencies of architectures, each with a head for `num_classes`.

    Args:
        latencies: folder of the measurements that studies share.
        scratch: folder for exported networks, which are removed once timed.
        formulation: of the candidates; the reference is the same network for all studies.
        reference_ms: the scale of the study, where it has one already.
    """

    def __init__(
        self,
        device: Device,
        *,
        latencies: Path,
        scratch: Path,
        num_classes: int,
        formulation: FormulationName,
        reference_ms: float | None,
    ) -> None:
        self._format, self._scratch = device.format, scratch
        self._num_classes, self._formulation = num_classes, formulation
        reference = self._export(_REFERENCE, "reference", _REFERENCE_CLASSES, DEFAULT_FORMULATION)
        self.meter = Meter(device, latencies, reference, reference_ms=reference_ms)

    def measure(self, arch: ArchConfig) -> Measurement:
        """Raises MeasurementError where the network cannot be exported or timed."""
        try:
            return self.meter.measure(self._export(arch, "candidate", self._num_classes, self._formulation))
        finally:
            shutil.rmtree(self._scratch / "candidate", ignore_errors=True)

    def _export(self, arch: ArchConfig, name: str, num_classes: int, formulation: FormulationName) -> Artifact:
        folder = self._scratch / name
        try:
            folder.mkdir()
            return export_model(
                arch, folder, format=self._format, num_classes=num_classes, formulation=formulation
            )
        except OSError as err:
            raise StorageError(f"{self._scratch}: cannot write an exported network: {err}") from err


class Evaluator:
    """Turns architectures into outcomes."""

    def __init__(
        self, timer: Timer, dataset: Dataset, *, proxy: Proxy, limits: Limits, seed: int, listener: Listener
    ) -> None:
        self._timer = timer
        self._dataset = dataset
        self._proxy = proxy
        self._limits = limits
        self._seed = seed
        self._listener = listener

    def outcome(self, arch: ArchConfig, *, train_anyway: bool = False) -> Outcome:
        """Time `arch` and, within the limits or where `train_anyway`, train it with the search's seed."""
        self._listener.working("measuring the latency")
        try:
            measurement = self._timer.measure(arch)
        except MeasurementError as err:
            return Failed(reason="measurement", message=str(err))
        params = network_cost(arch, len(self._dataset.classes)).params
        if not (train_anyway or self._limits.allow(measurement, params)):
            return Infeasible(measurement=measurement)
        try:
            curve = self.train(arch, self._seed, "selection")
        except TrainingError as err:
            return Failed(reason="training", message=str(err))
        return Finished(accuracy_pct=curve[-1], curve_pct=curve, measurement=measurement)

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
