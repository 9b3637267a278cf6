"""The reference network when a device is first used: how long it takes, and in which unit to time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from mvit2_search.latency.protocol import Device, TimingPlan
from mvit2_search.latency.units import UnitTrial, aa_test, chosen_unit
from mvit2_search.latency.visit import visit
from mvit2_search.latency.visits import Scatter, pair_ratios, reference_ms, speed
from mvit2_search.records import Artifact, Samples, time_fault

_VISITS, _PAUSE = 6, 2.5  # so many visits, and so many of the plan's pauses between them
_SAME_SPEED = 1.05


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownReference:
    """What is known of the reference on one device."""

    reference_ms: float  # when nothing slows the machine
    unit: int
    scatter: Scatter  # of visits in which it was timed against itself
    aa_test: tuple[UnitTrial, ...]

    def is_slow(self, now_ms: float) -> bool:
        """Whether a reference that takes `now_ms` runs at another speed than it could."""
        return speed(now_ms, self.reference_ms) == "slow"

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Self:
        """From a file that may have been edited by hand.

        Raises:
            ValueError, KeyError, TypeError, OverflowError: it is none.
        """
        trials = tuple(UnitTrial(**trial) for trial in row["aa_test"])
        known = cls(**row | {"scatter": Scatter(**row["scatter"]), "aa_test": trials})
        if fault := time_fault(known.reference_ms):
            raise ValueError(fault)
        if known.unit not in range(1, 1_000):
            raise ValueError(f"unit is {known.unit}")
        return known


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
