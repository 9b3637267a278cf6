"""Fronts, paired differences, finalists, what is best and what is as good and faster."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from fakes import OUTCOMES, finished, measurement, trial
from mvit2_search.analysis.confirmation import Confirmed, bracketing_widths, still_racing
from mvit2_search.analysis.paired import (
    adjusted_means_pct,
    paired_difference,
    sampling_error_pct,
    seed_spread,
    selection_bias,
)
from mvit2_search.analysis.pareto import front_mask, pareto_front
from mvit2_search.analysis.verdict import judge
from mvit2_search.arch import ArchConfig
from mvit2_search.records import Failed, Finished, Infeasible, Limits, Published, Score

LIMITS = Limits(latency_ms=20.0, max_params=None)
points = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12)


@given(points)
def test_the_front_is_what_nothing_dominates(rows):
    def dominates(a, b):
        return a[0] >= b[0] and a[1] <= b[1] and a != b

    expected = [not any(dominates(other, row) for other in rows) for row in rows]
    assert front_mask([a for a, _ in rows], [t for _, t in rows]).tolist() == expected


def test_the_front_leaves_out_what_is_over_the_budget_or_unfinished():
    trials = [
        trial(0, finished(70, 10)),
        trial(1, finished(69, 11)),
        trial(2, finished(75, 15)),
        trial(3, finished(90, 21)),
        trial(4, OUTCOMES[1]),
        trial(5, OUTCOMES[2]),
        trial(6, finished(75, 15), repeats=2),
    ]
    assert [t.number for t in pareto_front(trials, LIMITS)] == [0, 2, 6]


def test_parameters_are_a_limit_too():
    limits = Limits(latency_ms=20.0, max_params=999_999)
    assert not limits.allow_trial(trial(0))
    assert limits.allow_trial(trial(0, params=999_999))
    assert LIMITS.allow(measurement(20.0), 10**9)
    assert not LIMITS.allow(measurement(20.001), 1)


MANY = 10**9  # images: the choice of images adds nothing


@given(st.lists(st.tuples(st.floats(50, 90), st.floats(50, 90)), min_size=2, max_size=8))
def test_the_interval_is_that_of_the_paired_t_test(pairs):
    first, second = (dict(enumerate(column)) for column in zip(*pairs, strict=True))
    difference = paired_difference(first, second, images=MANY)
    if np.ptp([a - b for a, b in pairs]) > 0.1:
        expected = ttest_rel(list(first.values()), list(second.values())).confidence_interval(0.95)
        bounds = difference.low, difference.high
        if len(pairs) < 4:  # from there on halves may widen it
            assert bounds == pytest.approx((expected.low, expected.high), abs=1e-9)
        assert bounds[0] <= expected.low + 1e-9 < expected.high - 1e-9 <= bounds[1]
    assert difference.pairs == len(pairs)


def test_few_images_widen_the_interval_of_equal_differences():
    """Two shares of 0.6 and 0.7 of 100 images: 1.96 * sqrt((0.6 * 0.4 + 0.7 * 0.3) / 100) = 13.15 points."""
    difference = paired_difference({1: 70, 2: 70, 3: 70}, {1: 60, 2: 60, 3: 60}, images=100)
    assert difference.high - difference.mean == pytest.approx(13.148, abs=0.001)
    assert not difference.distinguishable


def test_only_common_seeds_are_paired():
    difference = paired_difference({1: 80.0, 2: 82.0, 3: 99.0}, {1: 79.0, 2: 80.0, 4: 0.0}, images=MANY)
    assert (difference.mean, difference.pairs) == (1.5, 2)


@pytest.mark.parametrize("second", [{1: 79.0}, {2: 79.0}])
def test_one_pair_or_none_says_nothing_about_noise(second):
    difference = paired_difference({1: 80.0}, second, images=MANY)
    assert (difference.mean, difference.low, difference.high) == (1.0, -math.inf, math.inf)
    assert not difference.distinguishable


def test_the_sampling_error_is_that_of_a_share():
    assert sampling_error_pct(50.0, 2500) == pytest.approx(1.96)


def widths(*latencies):
    names = ("mobilevitv2-0.5", "mobilevitv2-0.75", "mobilevitv2-1.0", "mobilevitv2-1.25")
    rows = [trial(i, finished(70 + i, ms), role=Published(names[i])) for i, ms in enumerate(latencies)]
    return [*rows, trial(4, Infeasible(latencies={"host": measurement(60)}), role=Published("mobilevitv2-2.0"))]


@pytest.mark.parametrize(
    ("latencies", "expected"),
    [((5, 15, 25), [1, 2]), ((5, 20, 25, 30), [1, 2]), ((25, 30), [0]), ((5,), [0])],
)
def test_the_bracket_is_the_last_width_within_and_the_first_beyond(latencies, expected):
    assert [t.number for t in bracketing_widths(widths(*latencies), LIMITS)] == expected


def scores(number, *accuracies):
    key = ArchConfig.mobilevitv2(0.5 + number / 8).key
    return [Score(subject=key, seed=1000 + i, result=pct) for i, pct in enumerate(accuracies)]


TRIALS = [*widths(5, 15, 25), trial(5, finished(80, 12)), trial(6, finished(79, 9))]


def verdict(trials, *confirmed):
    return judge(trials, [score for group in confirmed for score in group], LIMITS, images=MANY)


def test_the_gain_is_of_the_best_candidate_over_the_published_width():
    found = verdict(TRIALS, scores(5, 80, 81, 82), scores(6, 70, 71, 72), scores(1, 78, 79.5, 80))
    assert found.best.trial.number == found.searched.trial.number == 5
    assert found.published.trial.published == "mobilevitv2-0.75"
    assert found.gain.mean == pytest.approx(11 / 6)
    assert found.gain.distinguishable
    assert found.fastest is found.best
    assert found.lead is None


def test_the_fastest_within_noise_is_named_and_what_it_costs():
    found = verdict(TRIALS, scores(5, 80, 81, 82), scores(6, 82, 80, 78), scores(1, 70, 71, 72))
    assert found.best.trial.number == 5
    assert found.fastest.trial.number == 6
    assert found.lead.estimate < found.lead.mean == 1.0
    assert found.compared == 3
    assert found.lead.low < 0 < found.lead.high


@pytest.mark.slow
def test_what_the_fastest_costs_is_hardly_too_high_where_all_are_equal_and_never_below_zero():
    """The best of five is chosen by the same scores."""
    rng, equal = np.random.default_rng(1), [*widths(15), *(trial(i, finished(80, 4 + i)) for i in range(5, 9))]
    known = [t for t in equal if isinstance(t.outcome, Finished)]
    leads = []
    for _ in range(150):
        rows = [Score(subject=t.arch.key, seed=k, result=80 + rng.normal(0, 0.7)) for t in known for k in range(3)]
        leads.append(judge(equal, rows, LIMITS, images=5000).lead)
    shown = [lead for lead in leads if lead]
    assert all(lead.low <= lead.estimate <= lead.high for lead in shown)
    assert np.mean([lead.mean for lead in shown]) > 0.4
    assert min(lead.estimate for lead in shown) == 0
    assert np.mean([lead.estimate for lead in shown]) < 0.3


def test_a_published_width_can_be_the_best_and_the_gain_negative():
    slow = [*TRIALS[:-2], trial(5, finished(80, 18))]
    found = verdict(slow, scores(5, 80, 81, 82), scores(1, 85, 86, 87))
    assert found.best.trial.published == found.fastest.trial.published == "mobilevitv2-0.75"
    assert found.searched.trial.number == 5
    assert found.gain.mean == found.gain.estimate == -5


def test_a_published_width_alone_is_a_verdict():
    found = verdict(TRIALS, scores(1, 80, 81, 82))
    assert found.best is found.fastest is found.published
    assert found.searched is None
    assert found.gain is None


def test_with_one_seed_nothing_is_known_to_be_as_good_as_the_best():
    found = verdict(TRIALS, scores(5, 80), scores(6, 79.9))
    assert found.best.trial.number == found.fastest.trial.number == 5


def test_what_is_over_the_budget_is_never_best_or_fastest():
    found = verdict(TRIALS, scores(5, 80, 81, 82), scores(2, 95, 95, 95))
    assert found.best.trial.number == found.fastest.trial.number == 5
    assert found.published is None
    assert found.gain is None


def test_failed_trainings_are_no_scores():
    failed = replace(scores(5, 0.0)[0], seed=1002, result=Failed(reason="training", message=""))
    found = verdict(TRIALS, scores(5, 80, 81), [failed], scores(1, 70, 71, 72))
    assert (found.best.mean_pct, found.gain.pairs) == (80.5, 2)


def test_a_gain_over_one_common_seed_is_not_corrected():
    """Other seeds tell how much one does, but nothing of this pair."""
    failed = [replace(s, result=Failed(reason="training", message="")) for s in scores(1, 0, 0, 0)[1:]]
    found = verdict(TRIALS, scores(5, 80, 81, 82), scores(6, 80, 82, 81), scores(1, 78), failed)
    assert (found.gain.pairs, found.gain.bias, found.gain.mean) == (1, 0.0, 2.0)


def test_scores_without_any_common_seed_are_compared_by_their_means():
    failed = [replace(s, result=Failed(reason="training", message="")) for s in scores(5, 0, 0, 0)]
    late = scores(1, 0, 0, 85)[2:]
    found = verdict(TRIALS, scores(5, 80, 80), failed[2:], late)
    assert found.best.trial.published == "mobilevitv2-0.75"


WIDTH, BEYOND = (
    trial(0, finished(80, 15), role=Published("mobilevitv2-0.5")),
    trial(4, finished(80, 25), role=Published("x")),
)
FIVE = [WIDTH, *(trial(i, finished(80, 16 - i)) for i in (1, 2, 3)), BEYOND]


def judged(rows, trials=FIVE, *, limits=LIMITS, images=MANY):
    """Accuracies of the trials in turn, seed by seed; None for a training that failed."""
    failed = Failed(reason="training", message="")
    found = [
        Score(subject=t.arch.key, seed=i, result=failed if pct is None else float(pct))
        for t, row in zip(trials, rows, strict=False)
        for i, pct in enumerate(row)
    ]
    return judge(trials, found, limits, images=images)


def test_the_choice_is_among_all_candidates_by_their_levels_and_with_the_spread_of_all():
    """What is out of the race lacks the last seed; the width beyond the budget tells how much a seed does."""
    rows = [[79, 80.4, 79.1], [80.6, 80.5, 80.9], [80, 81, 80.1], [75, 76.1], [82, 83.9, 82.5]]
    found, table = judged(rows), [dict(enumerate(row)) for row in rows]
    assert (found.searched.trial.number, found.fastest.trial.number, found.gain.compared) == (1, 2, 3)
    spread, freedom = seed_spread(table)
    levels, error = adjusted_means_pct(table), spread / math.sqrt(3)
    gain = selection_bias(levels[1:4], error=error, freedom=freedom)
    lead = selection_bias([*levels[1:4], levels[0]], error=error, freedom=freedom, over=1)
    assert found.gain.bias == pytest.approx(gain)
    assert found.lead.bias == pytest.approx(min(lead, found.lead.mean))


def test_the_best_goes_by_the_level_and_not_by_the_mean():
    """The second candidate lacks the seed that was poor for all."""
    found = judged([[75, 78, 78], [78, 81.5, 80.7], [None, 80.4, 81.2]], FIVE[:3])
    assert found.best.trial.number == found.searched.trial.number == 1
    assert found.fastest.trial.number == 2
    assert found.fastest.mean_pct > found.best.mean_pct


def test_of_two_widths_within_the_budget_the_larger_is_compared_with_though_less_accurate():
    smaller = trial(8, finished(80, 9), role=Published("mobilevitv2-0.25x"))
    rows = [[82, 82.2, 82], [80, 80.3, 80.1], [83, 83.1, 83.2]]
    assert judged(rows, [smaller, WIDTH, FIVE[1]]).published.trial is WIDTH
    assert judged([rows[1], rows[0], rows[2]], [smaller, WIDTH, FIVE[1]]).published.trial is WIDTH


def test_the_fastest_may_be_a_published_width():
    width = trial(0, finished(80, 5), role=Published("mobilevitv2-0.5"))
    found = judged([[80, 81, 80.5], [80.5, 80.6, 80.9]], [width, FIVE[1]], images=5000)
    assert (found.best.trial.number, found.fastest.trial) == (1, width)


def test_what_has_too_many_parameters_is_neither_best_nor_fastest():
    trials = [*FIVE[:3], replace(FIVE[3], params=9_000_000)]
    rows = [[79, 80.4, 79.1], [80.6, 80.5, 80.9], [80, 81, 80.1], [81.1, 81.9, 81.3]]
    limits = Limits(latency_ms=20.0, max_params=2_000_000)
    found = judged(rows, trials, limits=limits, images=5000)
    assert 3 not in {found.best.trial.number, found.searched.trial.number, found.fastest.trial.number}
    assert judged(rows, trials, images=5000).best.trial.number == 3


def test_what_is_out_of_the_race_stays_out_though_the_leader_falls_later():
    found = judged([[70, 71, 70], [80, 81, 40], [80.1, 81, 80], [70.5, 71.5]], FIVE[:4])
    assert (found.best.trial.number, found.fastest.trial.number) == (2, 2)


def test_who_is_out_of_the_race_is_told_by_intervals_of_all_candidates_together():
    """By the interval of one pair alone the third would be out."""
    rows = [[79, 80.4, 79.1], [80.6, 80.5, 80.9], [80, 81, 80.1], [79.5, 80.0, 79.8]]
    table = [dict(enumerate(map(float, row))) for row in rows]
    confirmed = [Confirmed(trial=t, scores=one) for t, one in zip(FIVE, table, strict=False)]
    assert [c.trial.number for c in still_racing(confirmed, images=MANY)] == [1, 2, 3]
    assert paired_difference(table[1], table[3], images=MANY, others=[table[0], table[2]]).low > 0


def test_a_seed_that_was_poor_for_all_costs_those_nothing_that_have_it():
    """The first seed is three points low. Number 6 failed there, and is worse with both of the others."""
    failed = replace(scores(6, 0.0)[0], result=Failed(reason="training", message=""))
    found = verdict(TRIALS, scores(5, 78, 81, 81.1), [failed], scores(6, 78, 80.1, 80)[1:], scores(1, 75, 78, 78))
    assert found.best.trial.number == found.searched.trial.number == 5


def test_without_anything_confirmed_within_the_budget_there_is_no_verdict():
    assert verdict(TRIALS, scores(2, 80, 81, 82)) is None


def test_a_baseline_stands_for_a_candidate_of_the_same_architecture():
    twin = replace(trial(1, finished(75, 15)), number=9)
    found = verdict([twin, *TRIALS], scores(1, 80, 81, 82))
    assert found.best.trial.published == "mobilevitv2-0.75"
