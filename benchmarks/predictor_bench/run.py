"""How well the latencies of a device can be predicted from a few that are measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from predictor_bench.hits import HITS_PCT, Share, covered, within

from mvit2_search.arch import ArchConfig
from mvit2_search.errors import MeasurementError, SpecError
from mvit2_search.measure.bench import CLASSES, told
from mvit2_search.measure.protocol import Device
from mvit2_search.measure.timer import Tell, open_timer
from mvit2_search.predict.predictor import LEAST_MEASURED, LatencyPredictor
from mvit2_search.records import DEFAULT_FORMULATION, Measurement, Passport, Prediction
from mvit2_search.space import SearchSpace, draw_networks, load_space

REPEATS = 10
UNSETTLED = "unsettled"  # a flag of measurements
_FEWER = (25, 50, 100, 200)  # networks measured, on the way to all

Measured = tuple[ArchConfig, Measurement]


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOut:
    """A network that the predictor has not seen."""

    arch: ArchConfig
    measurement: Measurement
    prediction: Prediction


@dataclass(frozen=True, kw_only=True, slots=True)
class Hits:
    """How often values agree with measurements.

    Attributes:
        measured: networks that the predictor was fitted to; None where the values are measurements themselves.
        within: by percent off.
        covered: measurements inside of the predicted 95 % intervals; None for measurements.
    """

    measured: int | None
    within: dict[int, Share]
    covered: Share | None


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictBench:
    """Of measurements that settled: one that did not is no truth to compare with.

    Attributes:
        hits: by number of measured networks, the last being all.
        repeats: of the measurements themselves.
        left_out: networks that failed or whose measurement did not settle.
    """

    passport: Passport
    space: str
    seed: int
    predictor: str
    held_out: list[HeldOut]
    hits: list[Hits]
    repeats: Hits | None
    left_out: int


def bench_predict(
    device: Device, *, results: Path, space: str, measured: int, held_out: int, seed: int, tell: Tell
) -> PredictBench:
    """Measure networks drawn from `space`, fit to the first `measured`, and predict the `held_out` others.

    What `results` holds already is not measured again, but for ten of the held-out networks, which say how well
    measurements agree with themselves. A network that cannot be timed is left out, and one whose measurement
    does not settle.

    Raises:
        SpecError: the space is not known or too small, or fewer than 20 networks are left to fit to.
        MeasurementError: no held-out network is left.
        BackendUnavailable: the device cannot be used from here, or went away.
    """
    if measured < LEAST_MEASURED or held_out < 1:
        raise SpecError(f"expected at least {LEAST_MEASURED} measured networks and 1 held out")
    archs = _drawn(load_space(space), measured + held_out, seed=seed)
    with open_timer(
        device, results=results, num_classes=CLASSES, formulation=DEFAULT_FORMULATION, tell=tell
    ) as timer:
        train = _timed(archs[:measured], timer.measure, "measured", tell)
        test = _timed(archs[measured:], timer.measure, "held out", tell)
        again = _timed([arch for arch, _ in test[:REPEATS]], partial(timer.measure, again=True), "again", tell)
        passport = timer.meter.passport
    if not test:
        raise MeasurementError("the measurement of no held-out network settled; is the machine busy?")
    sizes = [n for n in _FEWER if n < len(train)] + [len(train)]
    fitted = [_held_out(train[:n], test) for n in sizes]
    return PredictBench(
        passport=passport,
        space=space,
        seed=seed,
        predictor=fitted[-1][0].prediction.predictor,
        held_out=fitted[-1],
        hits=[_hits(n, rows) for n, rows in zip(sizes, fitted, strict=True)],
        repeats=_repeatability(test, again) if again else None,
        left_out=len(archs) - len(train) - len(test),
    )


def _drawn(space: SearchSpace, count: int, *, seed: int) -> list[ArchConfig]:
    try:
        return draw_networks(space, count, seed=seed)
    except SpecError as err:
        raise SpecError(f"{err}; --measured may be {LEAST_MEASURED} and --held-out 1 at least") from err


def _timed(
    archs: Sequence[ArchConfig], measure: Callable[[ArchConfig], Measurement], what: str, tell: Tell
) -> list[Measured]:
    found = []
    for i, arch in enumerate(archs):
        timing = told(f"{what}, {i + 1} of {len(archs)}, {arch.key}", partial(measure, arch), tell)
        if isinstance(timing, Measurement) and UNSETTLED not in timing.flags:
            found.append((arch, timing))
    return found


def _held_out(train: list[Measured], test: list[Measured]) -> list[HeldOut]:
    predictor = LatencyPredictor(
        [arch for arch, _ in train], [label.latency_ms for _, label in train], num_classes=CLASSES
    )
    predictions = predictor.predict([arch for arch, _ in test])
    return [
        HeldOut(arch=arch, measurement=label, prediction=prediction)
        for (arch, label), prediction in zip(test, predictions, strict=True)
    ]


def _hits(measured: int, rows: list[HeldOut]) -> Hits:
    truths = [row.measurement.latency_ms for row in rows]
    predictions = [row.prediction for row in rows]
    values = [prediction.latency_ms for prediction in predictions]
    return Hits(
        measured=measured,
        within={pct: within(values, truths, pct) for pct in HITS_PCT},
        covered=covered(predictions, truths),
    )


def _repeatability(test: list[Measured], again: list[Measured]) -> Hits:
    first = {arch.key: label.latency_ms for arch, label in test}
    values = [label.latency_ms for _, label in again]
    truths = [first[arch.key] for arch, _ in again]
    return Hits(measured=None, within={pct: within(values, truths, pct) for pct in HITS_PCT}, covered=None)
