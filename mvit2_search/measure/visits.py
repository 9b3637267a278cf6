"""Visits to a device: how networks take turns, until their ratio is settled, and their measurement.

The first use of a device finds out how long the reference network takes there, and in which unit to time.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

import numpy as np
from PIL import Image

from mvit2_search.errors import MeasurementError
from mvit2_search.measure.protocol import Device, TimingPlan
from mvit2_search.measure.statistics import (
    counted,
    flags,
    is_settled,
    is_steady,
    pair_ratios,
    paired_ratio,
    reference_ms,
)
from mvit2_search.records import Artifact, Measurement, Precision, Samples
from mvit2_search.records.artifact import KnownReference, Scatter, UnitTrial


def random_input(*, shape: tuple[int, ...], precision: Precision, kind: str = "tensor") -> Any:
    """Values drawn evenly from an input's range, the same every time: `x_1CHW`, or an image.

    Never zeros: with them, every feature map is constant and the arithmetic draws less power.
    """
    rng = np.random.default_rng(0)
    if kind == "image":
        _, channels, height, width = shape
        return Image.fromarray(rng.integers(0, 256, (height, width, channels), dtype=np.uint8))
    return rng.random(shape, dtype=np.float32).astype(precision)


def take_turns(
    candidate_ms: Callable[[], float], reference_ms: Callable[[], float], *, plan: TimingPlan, load_ms: float
) -> Samples:
    """Warm both up, then time pairs of bursts of `plan.unit` passes: whatever slows the machine slows both.

    Every timed burst follows an untimed pass of the same network. Without it, the reference takes 19 %
    longer beside a large candidate, which pushes it out of the processor's caches, than beside itself.
    """
    for _ in range(plan.warmup):
        candidate_ms()
        reference_ms()
    candidate: list[float] = []
    reference: list[float] = []
    for _ in range(plan.pairs_per_visit):
        for run, samples in ((candidate_ms, candidate), (reference_ms, reference)):
            run()
            samples.extend(run() for _ in range(plan.unit))
    return Samples(candidate_ms=tuple(candidate), reference_ms=tuple(reference), unit=plan.unit, load_ms=load_ms)


def time_in_turn(
    load: Callable[[Artifact], Callable[[Any], object]], candidate: Artifact, reference: Artifact, plan: TimingPlan
) -> Samples:
    """A visit by this process's clock; `load` gives what runs a network once on a given input."""
    start = perf_counter()
    run = load(candidate)
    load_ms = 1e3 * (perf_counter() - start)
    return take_turns(_clocked(run, candidate), _clocked(load(reference), reference), plan=plan, load_ms=load_ms)


def _clocked(run: Callable[[Any], object], artifact: Artifact) -> Callable[[], float]:
    x_BCHW = random_input(shape=artifact.input_shape, precision=artifact.precision)

    def pass_ms() -> float:
        start = perf_counter()
        run(x_BCHW)
        return 1e3 * (perf_counter() - start)

    return pass_ms


_LONGEST_PAUSE = 4  # times the plan's


def collect(
    device: Device, candidate: Artifact, reference: Artifact, plan: TimingPlan, *, known: KnownReference
) -> list[Samples]:
    """Visit until the ratio of the steady visits is settled, or `plan.max_visits` times.

    A visit in which the machine ran at another speed than usual, or changed it, is kept and made again after
    a longer pause.

    Raises:
        MeasurementError: the samples are no times.
    """
    visits: list[Samples] = []
    wait = plan.pause_s
    for _ in range(plan.max_visits):
        if visits:
            device.pause(wait)
        visits.append(visit(device, candidate, reference, plan))
        steady = [one for one in visits if is_steady(one, known.reference_ms)]
        if is_settled(steady, plan, known.scatter):
            break
        disturbed = visits[-1] not in steady
        wait = min(2 * wait, _LONGEST_PAUSE * plan.pause_s) if disturbed else plan.pause_s
    return visits


def visit(device: Device, candidate: Artifact, reference: Artifact, plan: TimingPlan) -> Samples:
    """One visit whose samples are times in pairs; else raises MeasurementError."""
    samples = device.time(candidate, reference, plan)
    times = [*samples.candidate_ms, *samples.reference_ms]
    if len(samples.candidate_ms) != len(samples.reference_ms) or not samples.candidate_ms:
        raise MeasurementError("the device gave no pairs of times")
    if len(samples.candidate_ms) % samples.unit:
        raise MeasurementError(f"the device gave no whole bursts of {samples.unit} passes")
    if not all(math.isfinite(t) and t > 0 for t in times):
        raise MeasurementError(f"the device gave a time of {min(times)} ms")
    return samples


def to_measurement(
    visits: Sequence[Samples], *, artifact: Artifact, passport: str, known: KnownReference, plan: TimingPlan
) -> Measurement:
    """The record of `visits`: the ratio to the reference, times what that is known to take."""
    scale_ms = known.reference_ms
    used = counted(visits, plan, scale_ms)
    ratio = paired_ratio(used, known.scatter)
    ratios = np.concatenate([pair_ratios(visit) for visit in used])
    p10, p90 = scale_ms * np.percentile(ratios, [10, 90])
    return Measurement(
        artifact_sha256=artifact.sha256,
        passport=passport,
        latency_ms=ratio.value * scale_ms,
        low_ms=ratio.low * scale_ms,
        high_ms=ratio.high * scale_ms,
        p10_ms=float(p10),
        p90_ms=float(p90),
        pairs=len(ratios),
        unit=used[0].unit,
        visits=len(used),
        set_aside=len(visits) - len(used),
        reference_ms=scale_ms,
        reference_now_ms=reference_ms(*used),
        load_ms=visits[0].load_ms,
        placement=used[-1].placement,
        measured_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        flags=flags(used, plan, scale_ms, known.scatter),
    )


# The first use of a device

_VISITS, _PAUSE = 6, 2.5  # so many visits, and so many of the plan's pauses between them
_SAME_SPEED = 1.05  # times the fastest visit's reference

UNITS = (1, 5, 20)  # passes in a burst
_ROUNDS = 2
_MIN_PAIRS, _PASSES = 6, 20  # in each round, at least
_DISTURBED = 1.1  # times the fastest unit's pass: less is the machine's own unrest


def first_reference(device: Device, reference: Artifact, plan: TimingPlan) -> tuple[KnownReference, list[Samples]]:
    """Visit for long enough to see the device at its fastest; choose the unit by the A/A test in between.

    Raises:
        MeasurementError: the reference does not run.
    """
    visits = [visit(device, reference, reference, plan)]
    device.pause(_PAUSE * plan.pause_s)
    trials = _aa_test(device, reference, plan)
    plan = replace(plan, unit=_chosen_unit(trials))
    for _ in range(_VISITS - 1):
        device.pause(_PAUSE * plan.pause_s)
        visits.append(visit(device, reference, reference, plan))
    best = min(map(reference_ms, visits))
    known = KnownReference(
        reference_ms=reference_ms(*(one for one in visits if reference_ms(one) <= _SAME_SPEED * best)),
        unit=plan.unit,
        scatter=Scatter.of([float(np.median(pair_ratios(one))) for one in visits]),
        aa_test=tuple(trials),
    )
    return known, visits


def _aa_test(device: Device, network: Artifact, plan: TimingPlan) -> list[UnitTrial]:
    """Time `network` against a second copy of itself in every unit, the units in turn."""
    plans = [replace(plan, unit=unit, pairs_per_visit=max(_MIN_PAIRS, _PASSES // unit)) for unit in UNITS]
    rounds = [[visit(device, network, network, one) for one in plans] for _ in range(_ROUNDS)]
    return [_trial(visits) for visits in zip(*rounds, strict=True)]


def _trial(visits: Sequence[Samples]) -> UnitTrial:
    ratios = np.concatenate([pair_ratios(one) for one in visits])
    p10, p90 = np.percentile(ratios, [10, 90])
    return UnitTrial(
        unit=visits[0].unit,
        pass_ms=min(map(reference_ms, visits)),
        ratio=float(np.median(ratios)),
        spread_pct=100 * float(p90 - p10),
    )


def _chosen_unit(trials: Sequence[UnitTrial]) -> int:
    """The smallest unit in which changing from one network to the other does not slow their passes.

    The smaller the unit, the closer both are in time, and the less a machine that changes its speed matters.
    """
    fastest = min(trial.pass_ms for trial in trials)
    return min(trial.unit for trial in trials if trial.pass_ms <= _DISTURBED * fastest)
