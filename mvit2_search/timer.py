"""Timing networks by one protocol, for searches and benchmarks alike: export, measure, remove the export."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from mvit2_search.arch import ArchConfig
from mvit2_search.data import FASHION_MNIST_MINI, load_images
from mvit2_search.errors import StorageError
from mvit2_search.export import Written, export_model, verify_network
from mvit2_search.latency import Device, Meter, Tell
from mvit2_search.records import DEFAULT_FORMULATION, About, AboutNetwork, FormulationName, Measurement
from mvit2_search.results_folder import LATENCIES

REFERENCE = ArchConfig.mobilevitv2(0.5)  # with 1000 classes: the same for every study
REFERENCE_CLASSES = 1000


Images = Callable[[int], np.ndarray]


def probe_images(data: str, results: Path) -> Images:
    """Four images of a data set, by their size in pixels; there are none in `results`."""
    return lambda size: load_images(data, image_size=size, count=4, results=[results])


@contextmanager
def open_timer(
    device: Device,
    *,
    results: Path,
    num_classes: int,
    formulation: FormulationName,
    tell: Tell = lambda text: None,
) -> Iterator["Timer"]:
    """A timer with a scratch folder of its own, whose measurements are shared with the studies in `results`.

    Args:
        tell: told whom it waits for, where somebody else times networks on this computer.

    Raises:
        BackendUnavailable: the device cannot be used from here.
        MeasurementError: the reference cannot be timed.
    """
    device.check()
    with TemporaryDirectory(prefix="mvit2-search-") as scratch:
        yield Timer(
            device,
            results=results,
            scratch=Path(scratch),
            num_classes=num_classes,
            formulation=formulation,
            images=probe_images(FASHION_MNIST_MINI, results),
            tell=tell,
        )


class Timer:
    """Latencies of architectures, each with a head for `num_classes`.

    Args:
        results: folder of the studies, whose measurements are shared.
        scratch: folder for exported networks, which are removed once timed.
        formulation: of the candidates; the reference is the same network for all studies.
        images: of the data, by their size in pixels: files are tried on them before they are timed.
        reference_ms: the scale of the study, where it has one already.
        tell: told whom it waits for.
    """

    def __init__(
        self,
        device: Device,
        *,
        results: Path,
        scratch: Path,
        num_classes: int,
        formulation: FormulationName,
        images: Images,
        reference_ms: float | None = None,
        tell: Tell = lambda text: None,
    ) -> None:
        self.format, self._scratch = device.format, scratch
        self._num_classes, self._formulation = num_classes, formulation
        self._images = cache(images)
        reference = self._written("reference", self._exporter(REFERENCE, REFERENCE_CLASSES, DEFAULT_FORMULATION))
        reference.check()
        self.meter = Meter(device, results / LATENCIES, reference.artifact, scale_ms=reference_ms, tell=tell)

    def measure(self, arch: ArchConfig, *, again: bool = False) -> Measurement:
        """The latency of `arch`: from earlier, if it has been measured and nothing was wrong with it.

        Args:
            again: measure it all the same, and keep that instead.

        Raises:
            MeasurementError: it cannot be exported or timed, or the file computes something else.
            StorageError: it cannot be written.
        """
        about = AboutNetwork(arch=arch, num_classes=self._num_classes, formulation=self._formulation)
        export = self._exporter(arch, self._num_classes, self._formulation)
        return self.measure_export(export, about=about, again=again)

    def measure_export(
        self, export: Callable[[Path], Written], *, about: About, again: bool = False
    ) -> Measurement:
        """The same for whatever `export` writes, in `self.format`, to the empty folder that it is given.

        Args:
            about: what it is, kept beside the measurement.
        """
        try:
            exported = self._written("candidate", export)
            if not again and (known := self.meter.earlier(exported.artifact)) is not None:
                return known
            exported.check()
            return self.meter.measure(exported.artifact, about=about, again=again)
        finally:
            shutil.rmtree(self._scratch / "candidate", ignore_errors=True)

    def _exporter(
        self, arch: ArchConfig, num_classes: int, formulation: FormulationName
    ) -> Callable[[Path], Written]:
        def export(folder: Path) -> Written:
            artifact = export_model(
                arch, folder, format=self.format, num_classes=num_classes, formulation=formulation
            )
            return Written(
                artifact=artifact, verify=lambda: verify_network(artifact, arch, self._images(arch.image_size))
            )

        return export

    def _written(self, name: str, export: Callable[[Path], Written]) -> Written:
        folder = self._scratch / name
        try:
            folder.mkdir()
            return export(folder)
        except OSError as err:
            raise StorageError(f"{self._scratch}: cannot write an exported network: {err}") from err
