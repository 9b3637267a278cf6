"""How well the latencies of a device can be predicted from a few that are measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scipy.stats import binomtest

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.head import IMAGENET
from mvit2_search.errors import MeasurementError, SpecError
from mvit2_search.measure.bench import try_timing
from mvit2_search.measure.protocol import Device
from mvit2_search.measure.timer import Tell, open_timer
from mvit2_search.predict.predictor import LEAST_MEASURED, LatencyPredictor
from mvit2_search.records import DEFAULT_FORMULATION, Measurement, Passport, Prediction
from mvit2_search.space import SearchSpace, draw_networks, load_space

HITS_PCT = (5, 10)
REPEATS = 10
UNSETTLED = "unsettled"  # a flag of measurements
_FEWER = (25, 50, 100, 200)  # sizes of smaller fits, for comparison

Measured = tuple[ArchConfig, Measurement]


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """`hits` of `n`, with the exact (Clopper-Pearson) 95 % interval of the probability."""

    hits: int
    n: int

    @property
    def pct(self) -> float:
        return 100 * self.hits / self.n

    @property
    def interval_pct(self) -> tuple[float, float]:
        interval = binomtest(self.hits, self.n).proportion_ci(0.95, method="exact")
        return 100 * float(interval.low), 100 * float(interval.high)

    def __str__(self) -> str:
        """`48 of 50 (96 %; 95 % interval 86 to 100 %)`."""
        low, high = self.interval_pct
        return f"{self.hits} of {self.n} ({self.pct:.0f} %; 95 % interval {low:.0f} to {high:.0f} %)"


def within(values: Sequence[float], truths: Sequence[float], pct: float) -> Share:
    """How many values are at most `pct` percent off the truth."""
    pairs = list(zip(values, truths, strict=True))
    return Share(hits=sum(abs(v / t - 1) <= pct / 100 for v, t in pairs), n=len(pairs))


def covered(predictions: Sequence[Prediction], truths: Sequence[float]) -> Share:
    """How many truths are inside of the predicted 95 % intervals."""
    pairs = list(zip(predictions, truths, strict=True))
    return Share(hits=sum(p.low_ms <= t <= p.high_ms for p, t in pairs), n=len(pairs))


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOut:
    """A network that the predictor has not seen."""

    arch: ArchConfig
    measurement: Measurement
    prediction: Prediction


@dataclass(frozen=True, kw_only=True, slots=True)
class Hits:
    """How often predictions, or repeated measurements, agree with measurements.

    Attributes:
        measured: networks that the predictor was fitted to; None for repeated measurements.
        within: by percent off.
        covered: measurements inside of the predicted 95 % intervals; None for repeated measurements.
    """

    measured: int | None
    within: dict[int, Share]
    covered: Share | None


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictBench:
    """Predictions beside measurements that settled; one that did not is no truth to compare with.

    Attributes:
        hits: of each fit, the last being to all measured networks.
        repeats: of measurements made a second time.
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

    What `results` holds already is not measured again, except for ten of the held-out networks, which show how
    well measurements agree with themselves. A network is left out if it cannot be timed or does not settle.

    Raises:
        SpecError: the space is not known or too small, or fewer than 20 networks are left to fit to.
        MeasurementError: no held-out network is left.
        BackendUnavailable: the device cannot be used from here, or went away.
    """
    if measured < LEAST_MEASURED or held_out < 1:
        raise SpecError(f"expected at least {LEAST_MEASURED} measured networks and 1 held out")
    archs = _drawn(load_space(space), measured + held_out, seed=seed)
    with open_timer(device, results=results, head=IMAGENET, formulation=DEFAULT_FORMULATION, tell=tell) as timer:
        train = _timed(archs[:measured], timer.measure, "measured", tell)
        test = _timed(archs[measured:], timer.measure, "held out", tell)
        again = _timed([arch for arch, _ in test[:REPEATS]], partial(timer.measure, again=True), "again", tell)
        passport = timer.passport
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
        repeats=_repeats(test, again) if again else None,
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
        timing = try_timing(f"{what}, {i + 1} of {len(archs)}, {arch.key}", partial(measure, arch), tell)
        if isinstance(timing, Measurement) and UNSETTLED not in timing.flags:
            found.append((arch, timing))
    return found


def _held_out(train: list[Measured], test: list[Measured]) -> list[HeldOut]:
    predictor = LatencyPredictor(
        [arch for arch, _ in train], [label.latency_ms for _, label in train], head=IMAGENET
    )
    predictions = predictor.predict([arch for arch, _ in test])
    return [
        HeldOut(arch=arch, measurement=label, prediction=prediction)
        for (arch, label), prediction in zip(test, predictions, strict=True)
    ]


def _hits(measured: int, rows: list[HeldOut]) -> Hits:
    truths = [row.measurement.latency_ms for row in rows]
    predictions = [row.prediction for row in rows]
    return Hits(
        measured=measured,
        within=_within([prediction.latency_ms for prediction in predictions], truths),
        covered=covered(predictions, truths),
    )


def _repeats(test: list[Measured], again: list[Measured]) -> Hits:
    first = {arch.key: label.latency_ms for arch, label in test}
    values, truths = [label.latency_ms for _, label in again], [first[arch.key] for arch, _ in again]
    return Hits(measured=None, within=_within(values, truths), covered=None)


def _within(values: Sequence[float], truths: Sequence[float]) -> dict[int, Share]:
    return {pct: within(values, truths, pct) for pct in HITS_PCT}
