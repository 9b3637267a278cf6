"""The first use of a device: how long the reference network takes there, and in which unit to time."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mvit2_search.measure.protocol import Device, TimingPlan
from mvit2_search.measure.statistics import pair_ratios, reference_ms
from mvit2_search.measure.visits import visit
from mvit2_search.records import Artifact, Samples
from mvit2_search.records.artifact import KnownReference, Scatter, UnitTrial

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
    trials = aa_test(device, reference, plan)
    plan = replace(plan, unit=chosen_unit(trials))
    for _ in range(_VISITS - 1):
        device.pause(_PAUSE * plan.pause_s)
        visits.append(visit(device, reference, reference, plan))
    known = KnownReference(
        reference_ms=reference_ms(*_fastest(visits)),
        unit=plan.unit,
        scatter=Scatter.of([float(np.median(pair_ratios(one))) for one in visits]),
        aa_test=tuple(trials),
    )
    return known, visits


def _fastest(visits: Sequence[Samples]) -> list[Samples]:
    """The visits at the speed of the fastest."""
    best = min(map(reference_ms, visits))
    return [one for one in visits if reference_ms(one) <= _SAME_SPEED * best]


def aa_test(device: Device, network: Artifact, plan: TimingPlan) -> list[UnitTrial]:
    """Time `network` against a second copy of itself in every unit, the units in turn.

    Raises:
        MeasurementError: it does not run.
    """
    rounds = [[visit(device, network, network, _in_units(plan, unit)) for unit in UNITS] for _ in range(_ROUNDS)]
    return [_trial(visits) for visits in zip(*rounds, strict=True)]


def chosen_unit(trials: Sequence[UnitTrial]) -> int:
    """The smallest unit in which changing from one network to the other does not slow their passes.

    The smaller the unit, the closer both are in time, and the less a machine that changes its speed matters.
    """
    fastest = min(trial.pass_ms for trial in trials)
    return min(trial.unit for trial in trials if trial.pass_ms <= _DISTURBED * fastest)


def _in_units(plan: TimingPlan, unit: int) -> TimingPlan:
    return replace(plan, unit=unit, pairs_per_visit=max(_MIN_PAIRS, _PASSES // unit))


def _trial(visits: Sequence[Samples]) -> UnitTrial:
    ratios = np.concatenate([pair_ratios(one) for one in visits])
    p10, p90 = np.percentile(ratios, [10, 90])
    return UnitTrial(
        unit=visits[0].unit,
        pass_ms=min(map(reference_ms, visits)),
        ratio=float(np.median(ratios)),
        spread_pct=100 * float(p90 - p10),
    )
