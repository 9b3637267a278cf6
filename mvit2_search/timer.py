"""Timing networks by one protocol, for searches and benchmarks alike: export, measure, remove the export."""

import shutil
from collections.abc import Callable
from pathlib import Path

from mvit2_search.arch import ArchConfig
from mvit2_search.errors import StorageError
from mvit2_search.export import export_model
from mvit2_search.latency import Device, Meter
from mvit2_search.records import DEFAULT_FORMULATION, Artifact, FormulationName, Measurement

_REFERENCE = ArchConfig.mobilevitv2(0.5)  # with 1000 classes: the same for every study
_REFERENCE_CLASSES = 1000
_LATENCIES = ".latencies"  # measurements shared by all that a results folder holds


class Timer:
    """Latencies of architectures, each with a head for `num_classes`.

    Args:
        results: folder of the studies, whose measurements are shared.
        scratch: folder for exported networks, which are removed once timed.
        formulation: of the candidates; the reference is the same network for all studies.
        reference_ms: the scale of the study, where it has one already.
    """

    def __init__(
        self,
        device: Device,
        *,
        results: Path,
        scratch: Path,
        num_classes: int,
        formulation: FormulationName,
        reference_ms: float | None = None,
    ) -> None:
        self.format, self._scratch = device.format, scratch
        self._num_classes, self._formulation = num_classes, formulation
        reference = self._written("reference", self._exporter(_REFERENCE, _REFERENCE_CLASSES, DEFAULT_FORMULATION))
        self.meter = Meter(device, results / _LATENCIES, reference, reference_ms=reference_ms)

    def measure(self, arch: ArchConfig) -> Measurement:
        """Raises MeasurementError where the network cannot be exported or timed."""
        return self.measure_export(self._exporter(arch, self._num_classes, self._formulation))

    def measure_export(self, export: Callable[[Path], Artifact]) -> Measurement:
        """The latency of whatever `export` writes, in `self.format`, to the empty folder that it is given.

        Raises:
            MeasurementError: it cannot be exported or timed.
            StorageError: it cannot be written.
        """
        try:
            return self.meter.measure(self._written("candidate", export))
        finally:
            shutil.rmtree(self._scratch / "candidate", ignore_errors=True)

    def _exporter(
        self, arch: ArchConfig, num_classes: int, formulation: FormulationName
    ) -> Callable[[Path], Artifact]:
        return lambda folder: export_model(
            arch, folder, format=self.format, num_classes=num_classes, formulation=formulation
        )

    def _written(self, name: str, export: Callable[[Path], Artifact]) -> Artifact:
        folder = self._scratch / name
        try:
            folder.mkdir()
            return export(folder)
        except OSError as err:
            raise StorageError(f"{self._scratch}: cannot write an exported network: {err}") from err
