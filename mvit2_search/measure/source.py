"""Where latencies come from: a device that measures them, an estimate, or what was measured before on a device."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.head import Head
from mvit2_search.errors import MeasurementError, SpecError
from mvit2_search.measure.devices.registry import DeviceAddress, device_names, make_device
from mvit2_search.measure.protocol import Device
from mvit2_search.measure.timer import REFERENCE, NetworkTimer
from mvit2_search.predict.estimate import ESTIMATES, Estimate, make_estimate
from mvit2_search.predict.predictor import LEAST_MEASURED, LatencyPredictor
from mvit2_search.records import FormulationName, Latency, Passport, Prediction
from mvit2_search.space import SearchSpace, draw_up_to
from mvit2_search.store.folders import LATENCIES
from mvit2_search.store.measurements import Measurements

LatencySource = Device | Estimate

_DRAWN = 20  # networks of a space that an estimate is tried on; all of a smaller one


def source_names() -> list[str]:
    """The devices and estimates that a search may name besides `auto`."""
    return [*device_names(), *(f"estimate:{name}" for name in ESTIMATES)]


def find_source(name: str) -> LatencySource:
    """The device or the estimate called `name`.

    Raises:
        SpecError: there is none of that name; the message lists those that exist.
    """
    if DeviceAddress.parse(name).kind == "estimate":
        return make_estimate(name)
    if name not in ("auto", *source_names()):
        raise SpecError(f"`device` {name!r}: expected auto, {', '.join(source_names())}")
    return make_device(name)


def passport_of(source: LatencySource) -> Passport:
    """What its latencies hold for.

    Raises:
        BackendUnavailable: the device cannot be used from here.
    """
    if not isinstance(source, Estimate):
        source.check()
    return source.passport()


def check_space(source: LatencySource, space: SearchSpace) -> None:
    """Raises SpecError where an estimate refuses most networks of `space`, with what it says of one."""
    if not isinstance(source, Estimate):
        return
    drawn = draw_up_to(space, _DRAWN, seed=0)
    refusals = [refusal for arch in drawn if (refusal := source.refusal(arch))]
    if len(refusals) > len(drawn) / 2:
        raise SpecError(
            f"{len(refusals)} of {len(drawn)} networks of space {space.name!r} are refused: {refusals[0]}"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Latencies:
    """The latencies of one source, for one study: multiples of `reference_ms`, what MobileViTv2-0.5 takes.

    Attributes:
        of: a network's latency; raises MeasurementError where there is none to be had.
        quick: of an estimate alone: the latency in ms at once; infinite where there is none.
    """

    passport: Passport
    reference_ms: float
    of: Callable[[ArchConfig], Latency]
    quick: Callable[[ArchConfig], float] | None = None


def latencies_of(source: NetworkTimer | Estimate) -> Latencies:
    """The latencies that a timer measures, or an estimate predicts."""
    if not isinstance(source, Estimate):
        return Latencies(passport=source.passport, reference_ms=source.reference_ms, of=source.measure)

    def predicted(arch: ArchConfig) -> Prediction:
        if refusal := source.refusal(arch):
            raise MeasurementError(refusal)
        return source.predict(arch)

    return Latencies(
        passport=source.passport(),
        reference_ms=source.predict(REFERENCE).latency_ms,
        of=predicted,
        quick=lambda arch: source.middle_ms(arch) or math.inf,
    )


def predict_latency(
    device: Device, arch: ArchConfig, *, results: Path, head: Head, formulation: FormulationName
) -> tuple[Prediction, Passport]:
    """The latency of `arch` and the passport that such predictions have.

    Raises:
        SpecError: fewer than 20 networks are kept in `results`, or none that is like `arch`.
        BackendUnavailable: the device cannot be used from here.
        StorageError: a kept measurement cannot be read.
    """
    passport = passport_of(device)
    kept = [
        (about.arch, measurement.latency_ms)
        for folder in sorted((results / LATENCIES).glob(f"{passport.digest}-*"))
        for about, measurement in Measurements(folder).networks()
        if (about.head, about.formulation) == (head, formulation) and not measurement.flags
    ]
    if len(kept) < LEAST_MEASURED:
        raise SpecError(
            f"a prediction needs {LEAST_MEASURED} networks measured with {head.classes} classes in {results}, "
            f"found {len(kept)}; `mvit2-search measure` without `predict` measures one more"
        )
    archs, latencies_ms = zip(*kept, strict=True)
    (prediction,) = LatencyPredictor(archs, latencies_ms, head=head).predict([arch])
    return prediction, replace(passport, kind="predicted", protocol=None, runtime=prediction.predictor)
