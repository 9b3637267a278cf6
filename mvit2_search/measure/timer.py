"""Measured latencies on one device: each network is exported, timed and kept, and its file is removed."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.head import IMAGENET, Head
from mvit2_search.errors import StorageError
from mvit2_search.export.untrained import Exporter, Written, export_untrained
from mvit2_search.measure.protocol import Device, TimingPlan
from mvit2_search.measure.statistics import counted, reference_ms, speed
from mvit2_search.measure.visits import collect, first_reference, to_measurement
from mvit2_search.records import (
    DEFAULT_FORMULATION,
    About,
    AboutNetwork,
    Artifact,
    FormulationName,
    Kept,
    Measurement,
    Samples,
)
from mvit2_search.records.artifact import KnownReference
from mvit2_search.store.folders import LATENCIES
from mvit2_search.store.lease import DeviceLease
from mvit2_search.store.measurements import Measurements
from mvit2_search.task.data.load import FASHION_MNIST_MINI, load_images

REFERENCE = ArchConfig.mobilevitv2(0.5)  # with 1000 classes: the same for every study
REFERENCE_HEAD = IMAGENET

Tell = Callable[[str], None]


class NetworkTimer:
    """Times networks on a device against the reference network, each once.

    Measurements are kept in `results`, for all studies there. While this process times, no other one does on the
    same device; before it begins, it reads what others have measured and learned meanwhile.

    Args:
        scratch: folder for exported networks.
        head, formulation: of the networks that are timed.
        data: exported files are compared with their networks on a few of its images, before they are timed.
        scale_ms: what the reference took when the study began; by default what it is known to take now. All
            latencies are multiples of it, whatever is learned of the device later.
        exporter: writes a network in the device's format.
        tell: told whom it waits for.

    Attributes:
        path: of the file with the measurement of an artifact and all its samples, by the artifact's hash.

    Raises:
        BackendUnavailable: the device cannot be used from here.
        MeasurementError: the reference cannot be exported or timed.
        StorageError: a kept measurement cannot be read or written.
    """

    def __init__(
        self,
        device: Device,
        *,
        results: Path,
        scratch: Path,
        head: Head,
        formulation: FormulationName,
        data: str = FASHION_MNIST_MINI,
        scale_ms: float | None = None,
        exporter: Exporter = export_untrained,
        tell: Tell = lambda text: None,
    ) -> None:
        device.check()
        self.passport = device.passport()
        self.format = device.format
        self._device, self._scratch, self._exporter = device, scratch, exporter
        self._head, self._formulation = head, formulation
        self._images = cache(lambda size: load_images(data, image_size=size, count=4, results=[results]))
        self._plan = TimingPlan()
        self._lease = DeviceLease(device.lease, tell=tell, pause=device.pause)
        written = self._written("reference", self._export_of(REFERENCE, REFERENCE_HEAD, DEFAULT_FORMULATION))
        written.check()
        self._reference = written.artifact
        self._kept = Measurements(results / LATENCIES / f"{self.passport.digest}-{self._reference.sha256[:12]}")
        self.path = self._kept.path
        if (known := self._kept.reference()) is None:
            with self._lease.held():
                known = self._known_now()
        self.known = known
        self.reference_ms = scale_ms or self.known.reference_ms

    def measure(self, arch: ArchConfig, *, again: bool = False) -> Measurement:
        """The latency of `arch`: from earlier, if it has been measured and nothing was wrong with it.

        Args:
            again: measure it all the same, and keep that instead.

        Raises:
            MeasurementError: it cannot be exported or timed, or the file computes something else.
            BackendUnavailable: the device went away.
            StorageError: it cannot be written.
        """
        about = AboutNetwork(arch=arch, head=self._head, formulation=self._formulation)
        export = self._export_of(arch, self._head, self._formulation)
        return self.measure_export(export, about=about, again=again)

    def measure_export(
        self, export: Callable[[Path], Written], *, about: About | None = None, again: bool = False
    ) -> Measurement:
        """The same for what `export` writes, in `self.format`, to an empty folder; `about` is kept beside it."""
        try:
            written = self._written("candidate", export)
            if not again and (earlier := self._earlier(written.artifact)) is not None:
                return earlier
            written.check()
            return self._measure(written.artifact, about, again)
        finally:
            shutil.rmtree(self._scratch / "candidate", ignore_errors=True)

    def _export_of(self, arch: ArchConfig, head: Head, formulation: FormulationName) -> Callable[[Path], Written]:
        return lambda folder: self._exporter(
            arch, folder, format=self.format, head=head, formulation=formulation, images=self._images
        )

    def _written(self, name: str, export: Callable[[Path], Written]) -> Written:
        folder = self._scratch / name
        try:
            folder.mkdir()
            return export(folder)
        except OSError as err:
            raise StorageError(f"{self._scratch}: cannot write an exported network: {err}") from err

    def _known_now(self) -> KnownReference:
        """What is known of the reference, or is found out now; with the lease held."""
        if (known := self._kept.reference()) is not None:
            return known
        known, visits = first_reference(self._device, self._reference, self._plan)
        self._kept.put_reference(known, self.passport, visits)
        return known

    def _earlier(self, artifact: Artifact) -> Measurement | None:
        """What was measured before, if there is nothing wrong with it: else it is to be measured again."""
        self.known = self._kept.reference() or self.known
        kept = self._kept.get(artifact.sha256)
        if kept is None or kept.measurement.flags:
            return None
        was_slow = speed(kept.measurement.reference_now_ms, self.known.reference_ms) == "slow"
        return None if was_slow else self._scaled(kept.measurement)

    def _measure(self, artifact: Artifact, about: About | None, again: bool) -> Measurement:
        with self._lease.held():
            self.known = self._known_now()
            if not again and (earlier := self._earlier(artifact)) is not None:
                return earlier  # of another process, by now
            plan = replace(self._plan, unit=self.known.unit)
            visits = collect(self._device, artifact, self._reference, plan, known=self.known)
            self._learn(counted(visits, plan, self.known.reference_ms))
            measurement = to_measurement(
                visits, artifact=artifact, passport=self.passport.digest, known=self.known, plan=plan
            )
            if not measurement.flags or self._earlier(artifact) is None:  # what is flagged replaces nothing sound
                self._kept.put(Kept(measurement=measurement, about=about, visits=tuple(visits)))
            return self._scaled(measurement)

    def _learn(self, used: list[Samples]) -> None:
        """Where the device turns out to be faster than it was known to be, keep what the reference takes now."""
        if all(speed(reference_ms(visit), self.known.reference_ms) == "fast" for visit in used):
            self.known = replace(self.known, reference_ms=reference_ms(*used))
            self._kept.correct_reference(self.known)

    def _scaled(self, measurement: Measurement) -> Measurement:
        """On the scale asked for; flagged where that was set while the device was slower than it can be."""
        scaled = measurement.on_scale_of(self.reference_ms)
        if speed(self.known.reference_ms, self.reference_ms) == "fast":
            return replace(scaled, flags=tuple(sorted({*scaled.flags, "fast"})))
        return scaled


@contextmanager
def open_timer(
    device: Device,
    *,
    results: Path,
    head: Head,
    formulation: FormulationName,
    exporter: Exporter = export_untrained,
    tell: Tell = lambda text: None,
) -> Iterator[NetworkTimer]:
    """A timer with a scratch folder of its own; see `NetworkTimer`."""
    with TemporaryDirectory(prefix="mvit2-search-") as scratch:
        yield NetworkTimer(
            device,
            results=results,
            scratch=Path(scratch),
            head=head,
            formulation=formulation,
            exporter=exporter,
            tell=tell,
        )
