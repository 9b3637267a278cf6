"""Where a study's latencies come from: a device that measures them, or an estimate that predicts them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mvit2_search.arch import ArchConfig
from mvit2_search.errors import MeasurementError, SpecError
from mvit2_search.latency import Device, device_names, make_device
from mvit2_search.predict import ESTIMATES, Estimate, make_estimate
from mvit2_search.records import FormulationName, Latency, Passport, Prediction
from mvit2_search.timer import REFERENCE, Timer, probe_images

ESTIMATE = "estimate:"

Source = Device | Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Latencies:
    """`of` gives a network's latency and raises MeasurementError where there is none to be had.

    All are multiples of `reference_ms`, what MobileViTv2-0.5 takes.
    """

    passport: Passport
    reference_ms: float
    of: Callable[[ArchConfig], Latency]


def source_names() -> list[str]:
    """What `--device` may name besides `auto`."""
    return [*device_names(), *(f"{ESTIMATE}{name}" for name in ESTIMATES)]


def find_source(name: str) -> Source:
    """The device or the estimate called `name`.

    Raises:
        SpecError: there is none of that name.
    """
    return make_estimate(name) if name.startswith(ESTIMATE) else make_device(name)


def passport_of(source: Source) -> Passport:
    """What its latencies hold for.

    Raises:
        BackendUnavailable: the device cannot be used from here.
    """
    if isinstance(source, Estimate):
        return _estimate_passport(source)
    source.check()
    return source.passport()


def open_latencies(
    source: Source,
    *,
    results: Path,
    scratch: Path,
    num_classes: int,
    formulation: FormulationName,
    data: str,
    reference_ms: float | None,
) -> Latencies:
    """The latencies of `source`, on the scale of `reference_ms` where a study has one; see `Timer`."""
    if isinstance(source, Estimate):
        reference = source.predict(REFERENCE)
        of = partial(_predicted, source)
        return Latencies(passport=passport_of(source), reference_ms=reference.latency_ms, of=of)
    timer = Timer(
        source,
        results=results,
        scratch=scratch,
        num_classes=num_classes,
        formulation=formulation,
        images=probe_images(data),
        reference_ms=reference_ms,
    )
    return Latencies(passport=timer.meter.passport, reference_ms=timer.meter.reference_ms, of=timer.measure)


def _predicted(estimate: Estimate, arch: ArchConfig) -> Prediction:
    try:
        return estimate.predict(arch)
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
