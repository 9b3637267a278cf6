"""The A/A test: in which unit a device is to be timed, found by timing one network against itself."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mvit2_search.latency.protocol import Device, TimingPlan
from mvit2_search.latency.visit import visit
from mvit2_search.latency.visits import pair_ratios, reference_ms
from mvit2_search.records import Artifact, Samples

UNITS = (1, 5, 20)  # passes in a burst
_ROUNDS = 2
_MIN_PAIRS, _PASSES = 6, 20  # in each round, at least
_DISTURBED = 1.1  # times the fastest unit's pass: less is the machine's own unrest


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitTrial:
    """What came of timing two copies of one network in turn, in bursts of `unit` passes."""

    unit: int
    pass_ms: float  # median, in the faster of the rounds
    ratio: float  # of the copies, whose truth is 1
    spread_pct: float  # from the 10th to the 90th percentile of the pairs' ratios


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
