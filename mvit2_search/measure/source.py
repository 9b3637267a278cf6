"""Where latencies come from: a device that times exported networks, or an estimate that predicts them.

Timing networks by one protocol, for searches and benchmarks alike: export, measure, remove the export.

Where a study's latencies come from: a device that measures them, or an estimate that predicts them.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np

from mvit2_search.arch import ArchConfig
from mvit2_search.errors import MeasurementError, SpecError, StorageError
from mvit2_search.export.formats import export_model
from mvit2_search.export.verify import Written, verify_network
from mvit2_search.measure.devices.registry import device_names, make_device
from mvit2_search.measure.meter import Meter, Tell
from mvit2_search.measure.protocol import Device
from mvit2_search.predict.estimate import ESTIMATES, Estimate, make_estimate
from mvit2_search.predict.predictor import LEAST_MEASURED, LatencyPredictor
from mvit2_search.records import (
    DEFAULT_FORMULATION,
    About,
    AboutNetwork,
    FormulationName,
    Latency,
    Measurement,
    Passport,
    Prediction,
)
from mvit2_search.space import SearchSpace, draw_up_to
from mvit2_search.store.folders import LATENCIES
from mvit2_search.store.measurements import Measurements
from mvit2_search.task.data.fashion_mnist import FASHION_MNIST_MINI
from mvit2_search.task.data.load import load_images

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


ESTIMATE = "estimate:"
T = TypeVar("T")

Source = Device | Estimate


_DRAWN = 20  # networks of a space that an estimate is tried on; all of a smaller one


@dataclass(frozen=True, kw_only=True, slots=True)
class Latencies:
    """`of` gives a network's latency and raises MeasurementError where there is none to be had.

    An estimate has `quick` besides: the latency in ms alone, at once; it raises MeasurementError too.
    All are multiples of `reference_ms`, what MobileViTv2-0.5 takes.
    """

    passport: Passport
    reference_ms: float
    of: Callable[[ArchConfig], Latency]
    quick: Callable[[ArchConfig], float] | None = None


def source_names() -> list[str]:
    """The devices and estimates that a search may name besides `auto`."""
    return [*device_names(), *(f"{ESTIMATE}{name}" for name in ESTIMATES)]


def find_source(name: str) -> Source:
    """The device or the estimate called `name`.

    Raises:
        SpecError: there is none of that name.
    """
    if name.startswith(ESTIMATE):
        return make_estimate(name)
    if name not in ("auto", *source_names()):
        raise SpecError(f"`device` {name!r}: expected auto, {', '.join(source_names())}")
    return make_device(name)


def predict_latency(
    source: Device, arch: ArchConfig, *, results: Path, num_classes: int, formulation: FormulationName
) -> Prediction:
    """The latency of `arch` as what `results` holds of a device lets it be predicted, without measuring.

    Raises:
        SpecError: fewer than 20 networks are kept, or none that is like `arch`.
        BackendUnavailable: the device cannot be used from here.
        StorageError: a kept measurement cannot be read.
    """
    folders = sorted((results / LATENCIES).glob(f"{passport_of(source).digest}-*"))
    kept = [
        (arch, measurement.latency_ms)
        for folder in folders
        for arch, measurement in _kept(Measurements(folder), num_classes, formulation)
    ]
    if len(kept) < LEAST_MEASURED:
        raise SpecError(
            f"a prediction needs {LEAST_MEASURED} networks measured with {num_classes} classes in {results}, "
            f"found {len(kept)}; `mvit2-search bench predict` measures some"
        )
    archs, latencies_ms = zip(*kept, strict=True)
    (prediction,) = LatencyPredictor(archs, latencies_ms, num_classes=num_classes).predict([arch])
    return prediction


def predicted_passport(passport: Passport, prediction: Prediction) -> Passport:
    """That of a prediction from measurements with `passport`."""
    return replace(passport, kind="predicted", protocol=None, runtime=prediction.predictor)


def passport_of(source: Source) -> Passport:
    """What its latencies hold for.

    Raises:
        BackendUnavailable: the device cannot be used from here.
    """
    if isinstance(source, Estimate):
        return _estimate_passport(source)
    source.check()
    return source.passport()


def check_space(source: Source, space: SearchSpace) -> None:
    """Raises SpecError where an estimate refuses most networks of `space`, with what it says of one."""
    if not isinstance(source, Estimate):
        return
    refusals, drawn = [], draw_up_to(space, _DRAWN, seed=0)
    for arch in drawn:
        try:
            source.check(arch)
        except SpecError as err:
            refusals.append(str(err))
    if len(refusals) > len(drawn) / 2:
        raise SpecError(
            f"{len(refusals)} of {len(drawn)} networks of space {space.name!r} are refused: {refusals[0]}"
        )


def open_latencies(
    source: Source,
    *,
    results: Path,
    scratch: Path,
    num_classes: int,
    formulation: FormulationName,
    data: str,
    reference_ms: float | None,
    tell: Tell,
) -> Latencies:
    """The latencies of `source`, on the scale of `reference_ms` where a study has one; see `Timer`."""
    if isinstance(source, Estimate):
        reference = source.predict(REFERENCE)
        return Latencies(
            passport=passport_of(source),
            reference_ms=reference.latency_ms,
            of=lambda arch: _asked(source.predict, arch),
            quick=lambda arch: _asked(source.middle_ms, arch),
        )
    timer = Timer(
        source,
        results=results,
        scratch=scratch,
        num_classes=num_classes,
        formulation=formulation,
        images=probe_images(data, results),
        reference_ms=reference_ms,
        tell=tell,
    )
    return Latencies(
        passport=timer.meter.passport,
        reference_ms=timer.meter.reference_ms,
        of=timer.measure,
    )


def _kept(
    measurements: Measurements, num_classes: int, formulation: FormulationName
) -> list[tuple[ArchConfig, Measurement]]:
    """The networks of that kind among those of one device, and their measurements that nothing was wrong with."""
    return [
        (about.arch, measurement)
        for about, measurement in measurements.networks()
        if (about.num_classes, about.formulation) == (num_classes, formulation) and not measurement.flags
    ]


def _asked(answer: Callable[[ArchConfig], T], arch: ArchConfig) -> T:
    try:
        return answer(arch)
    except SpecError as err:
        raise MeasurementError(str(err)) from err


def _estimate_passport(estimate: Estimate) -> Passport:
    return Passport(
        device=ESTIMATES[estimate.name],
        chip="as published",
        system="as published",
        runtime=estimate.description,
        compute_units="as published",
        precision="as published",
        batch=1,
        threads=0,
        kind="predicted",
    )
