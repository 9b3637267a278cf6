"""What a visit times, in which order, and what is made of the times of several."""

import numpy as np
import pytest
from scipy.stats import binom

from mvit2_search.measure.protocol import TimingPlan
from mvit2_search.measure.statistics import drifts, pair_ratios, paired_ratio
from mvit2_search.measure.visits import take_turns
from mvit2_search.records import Samples
from mvit2_search.records.artifact import Scatter


def samples(candidate, reference, unit=1):
    return Samples(candidate_ms=tuple(candidate), reference_ms=tuple(reference), unit=unit, load_ms=0.0)


@pytest.mark.slow
@pytest.mark.parametrize("between", [0.0, 0.01])
def test_the_interval_covers_the_median_as_often_as_it_says(between):
    """Visits that differ among each other included: three here, as two tell little of it."""
    rng, truth, hits = np.random.default_rng(3), 3.0, 0
    for _ in range(400):
        visits = [
            samples(truth * rng.lognormal(0, between) * rng.lognormal(0, 0.03, 10), [1.0] * 10) for _ in range(3)
        ]
        ratio = paired_ratio(visits)
        hits += ratio.low <= truth <= ratio.high
    assert hits >= binom.ppf(0.001, 400, 0.95)
    assert hits < 400


def test_the_interval_takes_in_the_scatter_of_visits():
    visits = [samples([ms] * 10, [1.0] * 10) for ms in (2.0, 2.1, 2.2)]
    alike, apart = paired_ratio(visits[:1] * 2), paired_ratio(visits)
    assert (alike.low, alike.high) == (2.0, 2.0)
    assert apart.high - apart.value == pytest.approx(4.302653 * 0.1 / 3**0.5)  # Student's t of 2 degrees


def test_what_is_known_of_a_device_widens_the_interval_of_visits_that_happen_to_agree():
    alike = [samples([2.0] * 10, [1.0] * 10)] * 2
    known = Scatter.of([0.98, 1.0, 1.02, 1.01, 0.99, 1.0])
    ratio = paired_ratio(alike, known)
    pooled = 5 * np.var([0.98, 1.0, 1.02, 1.01, 0.99, 1.0], ddof=1) / 6
    assert ratio.high - 2 == pytest.approx(2 * 2.446912 * (pooled / 2) ** 0.5)  # Student's t of 6 degrees


def test_pairs_of_bursts_are_of_their_medians():
    visit = samples([3, 9, 3, 4, 4, 40], [1, 1, 7, 2, 2, 2], unit=3)
    assert list(pair_ratios(visit)) == [3.0, 2.0]


@pytest.mark.parametrize(
    ("bursts", "expected"),
    [
        ([1.0] * 10, False),
        (list(np.linspace(1, 1.2, 10)), True),
        (list(np.linspace(1, 1.02, 10)), False),  # too little to matter
        ([1.0, 1.3, 1.0, 1.3, 1.0, 1.3, 1.0, 1.3, 1.0, 1.3], False),  # no trend
    ],
)
def test_drift_is_a_trend_of_the_reference(bursts, expected):
    assert drifts(samples([3.0] * 10, bursts)) is expected


def order(plan):
    passes = []

    def run(name):
        return lambda: passes.append(name) or float(len(passes))

    return take_turns(run("c"), run("r"), plan=plan, load_ms=0.0), "".join(passes)


def test_every_timed_pass_follows_an_untimed_one_of_the_same_network():
    taken, passes = order(TimingPlan(warmup=0, pairs_per_visit=2))
    assert passes == "ccrrccrr"
    assert taken.candidate_ms == (2.0, 6.0)
    assert taken.reference_ms == (4.0, 8.0)


def test_bursts_leave_out_their_first_pass():
    taken, passes = order(TimingPlan(warmup=1, pairs_per_visit=2, unit=2))
    assert passes == "cr" + "cccrrr" * 2
    assert taken.candidate_ms == (4.0, 5.0, 10.0, 11.0)
    assert (len(taken.reference_ms), taken.unit) == (4, 2)
