"""Where a study's latencies come from: a device that measures them, or an estimate that predicts them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from mvit2_search.arch import ArchConfig
from mvit2_search.errors import MeasurementError, SpecError
from mvit2_search.latency import Device, Measurements, Tell, device_names, make_device
from mvit2_search.predict import (
    ESTIMATES,
    LEAST_MEASURED,
    Estimate,
    LatencyPredictor,
    make_estimate,
)
from mvit2_search.records import FormulationName, Latency, Measurement, Passport, Prediction
from mvit2_search.results_folder import LATENCIES
from mvit2_search.space import SearchSpace, draw_up_to
from mvit2_search.timer import REFERENCE, Timer, probe_images

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
    """What `--device` may name besides `auto`."""
    return [*device_names(), *(f"{ESTIMATE}{name}" for name in ESTIMATES)]


def find_source(name: str) -> Source:
    """The device or the estimate called `name`.

    Raises:
        SpecError: there is none of that name.
    """
    if name.startswith(ESTIMATE):
        return make_estimate(name)
    if name not in ("auto", *source_names()):
        raise SpecError(f"--device {name!r}: expected auto, {', '.join(source_names())}")
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
    return replace(passport, protocol=0, runtime=prediction.predictor)


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
        protocol=0,
    )
