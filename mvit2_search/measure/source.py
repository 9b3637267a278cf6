"""Where a search gets latencies from: a device that measures them, or an estimate that predicts them.

The latency of a network on a device, predicted from what was measured there before, without measuring.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.head import Head
from mvit2_search.errors import MeasurementError, SpecError
from mvit2_search.export.untrained import Exporter, export_untrained
from mvit2_search.measure.devices.registry import DeviceAddress, device_names, make_device
from mvit2_search.measure.protocol import Device
from mvit2_search.measure.timer import REFERENCE, NetworkTimer, Tell
from mvit2_search.predict.estimate import ESTIMATES, Estimate, make_estimate
from mvit2_search.predict.predictor import LEAST_MEASURED, LatencyPredictor
from mvit2_search.records import FormulationName, Latency, Passport, Prediction
from mvit2_search.space import SearchSpace, draw_up_to
from mvit2_search.store.folders import LATENCIES
from mvit2_search.store.measurements import Measurements


def predict_latency(
    device: Device, arch: ArchConfig, *, results: Path, head: Head, formulation: FormulationName
) -> tuple[Prediction, Passport]:
    """The latency of `arch` and the passport that such predictions have.

    Raises:
        SpecError: fewer than 20 networks are kept in `results`, or none that is like `arch`.
        BackendUnavailable: the device cannot be used from here.
        StorageError: a kept measurement cannot be read.
    """
    device.check()
    passport = device.passport()
    kept = _kept(passport, results, head, formulation)
    if len(kept) < LEAST_MEASURED:
        raise SpecError(
            f"a prediction needs {LEAST_MEASURED} networks measured with {head} classes in {results}, "
            f"found {len(kept)}; `mvit2-search measure` without `predict` measures one more"
        )
    archs, latencies_ms = zip(*kept, strict=True)
    (prediction,) = LatencyPredictor(archs, latencies_ms, head=head).predict([arch])
    return prediction, replace(passport, kind="predicted", protocol=None, runtime=prediction.predictor)


def _kept(
    passport: Passport, results: Path, head: Head, formulation: FormulationName
) -> list[tuple[ArchConfig, float]]:
    """The networks of that kind that were measured with `passport`, and their latencies without flags."""
    return [
        (about.arch, measurement.latency_ms)
        for folder in sorted((results / LATENCIES).glob(f"{passport.digest}-*"))
        for about, measurement in Measurements(folder).networks()
        if (about.head, about.formulation) == (head, formulation) and not measurement.flags
    ]


LatencySource = Device | Estimate

_ESTIMATE = "estimate"  # the kind of address that names one
_DRAWN = 20  # networks of a space that an estimate is tried on; all of a smaller one

T = TypeVar("T")


def source_names() -> list[str]:
    """The devices and estimates that a search may name besides `auto`."""
    return [*device_names(), *(f"{_ESTIMATE}:{name}" for name in ESTIMATES)]


def find_source(name: str) -> LatencySource:
    """The device or the estimate called `name`.

    Raises:
        SpecError: there is none of that name; the message lists those that exist.
    """
    if DeviceAddress.parse(name).kind == _ESTIMATE:
        return make_estimate(name)
    if name not in ("auto", *source_names()):
        raise SpecError(f"`device` {name!r}: expected auto, {', '.join(source_names())}")
    return make_device(name)


def passport_of(source: LatencySource) -> Passport:
    """What its latencies hold for.

    Raises:
        BackendUnavailable: the device cannot be used from here.
    """
    if isinstance(source, Estimate):
        return _estimate_passport(source)
    source.check()
    return source.passport()


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


def check_space(source: LatencySource, space: SearchSpace) -> None:
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Latencies:
    """The latencies of one source, for one study: multiples of `reference_ms`, what MobileViTv2-0.5 takes.

    Attributes:
        of: a network's latency; raises MeasurementError where there is none to be had.
        quick: of an estimate alone: the latency in ms at once; raises MeasurementError too.
    """

    passport: Passport
    reference_ms: float
    of: Callable[[ArchConfig], Latency]
    quick: Callable[[ArchConfig], float] | None = None


def open_latencies(
    source: LatencySource,
    *,
    results: Path,
    scratch: Path,
    head: Head,
    formulation: FormulationName,
    data: str,
    reference_ms: float | None,
    exporter: Exporter = export_untrained,
    tell: Tell,
) -> Latencies:
    """The latencies of `source`, on the scale of `reference_ms` where a study has one; see `NetworkTimer`."""
    if isinstance(source, Estimate):
        return Latencies(
            passport=passport_of(source),
            reference_ms=source.predict(REFERENCE).latency_ms,
            of=lambda arch: _asked(source.predict, arch),
            quick=lambda arch: _asked(source.middle_ms, arch),
        )
    timer = NetworkTimer(
        source,
        results=results,
        scratch=scratch,
        head=head,
        formulation=formulation,
        data=data,
        scale_ms=reference_ms,
        exporter=exporter,
        tell=tell,
    )
    return Latencies(passport=timer.passport, reference_ms=timer.reference_ms, of=timer.measure)


def _asked(answer: Callable[[ArchConfig], T], arch: ArchConfig) -> T:
    try:
        return answer(arch)
    except SpecError as err:
        raise MeasurementError(str(err)) from err
