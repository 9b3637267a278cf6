"""What keeps early stopping from curves of another kind: the audit, sizes, lots and the widened bound."""

from dataclasses import replace

import numpy as np
import pytest
from stopping import followed

from mvit2_search.arch import ArchConfig
from mvit2_search.stopping.audit import audit, proportion_interval
from mvit2_search.stopping.bound import Regression, regression
from mvit2_search.stopping.curves import Curve, Size, lot
from mvit2_search.stopping.rules import Dominance

SMALL, LARGE = Size(macs=18.0, params=14.0, layers=9), Size(macs=20.0, params=16.0, layers=15)


def curve(*scores, latency_ms=10.0, size=SMALL, finished=True):
    return Curve(scores=scores, latency_ms=latency_ms, size=size, finished=finished)


def normal_past(count, *, seed=0, size=SMALL):
    """One network is the fastest and the best; all others end 10 points above their first epoch, more or less."""
    ends = np.random.default_rng(seed).uniform(50, 60, count)
    noise = np.random.default_rng(seed + 1).normal(0, 0.3, count)
    return [curve(60, 70, 75, latency_ms=5, size=size)] + [
        curve(end - 10 + off, end - 5 + off, end, size=size) for end, off in zip(ends, noise, strict=True)
    ]


def judged(past, *scores, lot=0.5, size=SMALL, **settings):
    return Dominance(**settings).judge(curve(*scores, size=size, finished=False), past, lot=lot)


@pytest.mark.parametrize("columns", [1, 2])
def test_leaving_a_point_out_is_as_if_it_had_never_been_there(columns):
    rng = np.random.default_rng(columns)
    x_NP, y_N = rng.normal(5, 2, (9, columns)), rng.normal(60, 3, 9)
    whole = Regression.of(x_NP.mean(0), x_NP, y_N)
    for i in range(9):
        rest = Regression.of(x_NP[i], np.delete(x_NP, i, 0), np.delete(y_N, i))
        assert whole.left_out[i] == pytest.approx(y_N[i] - rest.predicted)
        assert whole.left_out_margins(0.95)[i] == pytest.approx(rest.bound(0.95) - rest.predicted)


def test_the_plane_is_that_of_least_squares():
    rng = np.random.default_rng(0)
    x_NP, y_N, other_P = rng.normal(5, 2, (9, 2)), rng.normal(60, 3, 9), np.array([4.0, 9.0])
    design_NP = np.column_stack([np.ones(9), x_NP])
    found, at_P = np.linalg.lstsq(design_NP, y_N)[0], np.r_[1, other_P]
    plane = Regression.of(other_P, x_NP, y_N)
    assert plane.predicted == pytest.approx(at_P @ found)
    assert plane.leverage == pytest.approx(at_P @ np.linalg.inv(design_NP.T @ design_NP) @ at_P)
    assert plane.residual_N == pytest.approx(y_N - design_NP @ found)


def test_columns_that_say_nothing_make_no_plane():
    x_N = np.arange(9.0)
    assert Regression.of(np.zeros(1), np.ones((9, 1)), x_N) is None
    assert Regression.of(np.zeros(2), np.column_stack([x_N, 3 - 2 * x_N]), x_N) is None


def test_a_slow_kind_is_told_by_its_size_where_enough_of_it_has_finished():
    """Networks of more layers are 8 points lower on the way, and end like the others."""
    rng = np.random.default_rng(0)
    ends, layers = rng.uniform(60, 70, 20), np.tile([9.0, 15.0], 10)
    slow = 8 * (layers > 9)
    curves = np.column_stack([ends - 10 - slow + rng.normal(0, 0.3, 20), ends])
    sizes = [Size(macs=rng.normal(), params=rng.normal(), layers=one) for one in layers]
    blind, told = (regression([47.0], curves, *args) for args in [(), (Size(0, 0, 15.0), sizes)])
    assert told.predicted == pytest.approx(47 + 18, abs=0.5)
    assert blind.predicted < 64
    assert told.bound(0.99) < 67


def test_a_size_that_tells_nothing_is_left_out():
    past = normal_past(20)
    sizes = [Size(*one) for one in np.random.default_rng(3).normal(0, 1, (21, 3)).tolist()]
    curves = [one.scores for one in past]
    assert regression([45.0], curves, sizes[0], sizes).freedom in (18, 19)
    assert regression([45.0], curves[:7], sizes[0], sizes[:7]).freedom == 5  # too few to choose by


def test_nothing_is_stopped_before_the_audit_vouches():
    """With no miss, eleven audited trainings bring the end of the interval to 28.5 %, ten to 30.8 %."""
    verdicts = {count: judged(normal_past(count), 35.0, larger=0) for count in (8, 10, 11, 12)}
    audited = {count: Dominance().audit(normal_past(count)).audited for count in verdicts}
    assert audited == {8: 8, 10: 10, 11: 11, 12: 12}
    assert {count: one.stops for count, one in verdicts.items()} == {8: False, 10: False, 11: True, 12: True}
    assert all(one.bound < 60 for one in verdicts.values())


def test_the_interval_is_clopper_and_pearsons():
    """Newcombe 1998, table I: 0 of 20 gives 0.0000 to 0.1684, 81 of 263 gives 0.2527 to 0.3676."""
    assert proportion_interval(0, 20) == pytest.approx((0, 0.1684), abs=5e-5)
    assert proportion_interval(81, 263) == pytest.approx((0.2527, 0.3676), abs=5e-5)
    assert proportion_interval(3, 3)[1] == 1
    assert proportion_interval(0, 0) == (0, 1)


@pytest.mark.parametrize("odd", [(35.0, 40.0, 62.0), (62.0, 30.0, 74.5)], ids=["early", "late"])
def test_the_audit_counts_what_the_others_would_have_stopped(odd):
    """By refitting without each: no closed form. The odd one looks poor after either epoch or after the second."""
    past = [*normal_past(19), curve(*odd)]
    found = audit(past, confidence=0.995, most_missed=0.3)
    rule, would, missed = Dominance(slack=0), 0, 0
    for i, one in enumerate(past):
        others = [*past[:i], *past[i + 1 :]]
        seen = [replace(one, scores=one.scores[:epoch]) for epoch in (1, 2)]
        bounds = [rule.bound_pct(part, others) for part in seen]
        below = [bound for bound in bounds if one.latency_ms > 5 and bound <= 75]
        would, missed = would + bool(below), missed + any(one.scores[-1] > bound for bound in below)
    assert (found.audited, found.missed) == (would, missed)
    assert found.missed == 1
    assert (found.low, found.high) == proportion_interval(found.missed, found.audited)


def test_too_many_misses_stop_the_stopping():
    """Two of fourteen jump at the end, each in a way of its own."""
    jumps = [curve(42.0, 47.0, 65.0), curve(44.0, 49.0, 74.0)]
    few, many = [*normal_past(12)], [*normal_past(12), *jumps]
    assert Dominance().audit(few).vouches
    found = Dominance().audit(many)
    assert found.missed > 0
    assert not found.vouches


def test_a_late_bloomer_that_was_seen_keeps_the_next_from_being_stopped():
    past = [*normal_past(30), curve(42.0, 47.0, 68.0)]
    found = regression([40.0], [one.scores for one in past])
    surprise = found.left_out.max()
    assert surprise > 10
    bound = Dominance().bound_pct(curve(40.0), past)
    assert bound == pytest.approx(found.predicted + 1.25 * surprise)
    assert bound > found.bound(0.995)
    assert Dominance(slack=0).bound_pct(curve(40.0), past) == pytest.approx(found.bound(0.995))


@pytest.mark.parametrize("measure", Size._fields)
def test_what_is_larger_than_nearly_all_is_never_stopped(measure):
    larger = SMALL._replace(**{measure: getattr(LARGE, measure)})
    past = normal_past(20)
    assert judged(past, 35.0).stops
    assert not judged(past, 35.0, size=larger).stops
    assert not judged([*past, curve(45.0, 50.0, 55.0, size=larger)], 35.0, size=larger).stops
    two = [curve(end - 10, end - 5, end, size=larger) for end in (55.0, 56.0)]
    assert judged([*past, *two], 35.0, size=larger).stops


def test_a_share_is_trained_to_its_end_by_lot():
    past = normal_past(20)
    verdicts = [judged(past, 35.0, lot=at) for at in (0.0, 0.09, 0.1, 0.99)]
    assert [one.stops for one in verdicts] == [False, False, True, True]
    assert len({one.bound for one in verdicts}) == 1


def test_lots_are_fixed_even_and_of_the_seed():
    lots = np.array([lot(0, f"{i:012x}") for i in range(4000)])
    assert lot(0, "041398518ff1") == pytest.approx(0.177574804)
    assert lot(0, "041398518ff1") != lot(1, "041398518ff1")
    assert lots.min() >= 0
    assert lots.max() < 1
    assert np.histogram(lots, 10, (0, 1))[0] == pytest.approx(400, abs=5 * 360**0.5)


def test_what_goes_on_goes_to_its_end():
    past = normal_past(20)
    whole = curve(35.0, 40.0, 45.0)
    assert len(followed(Dominance(), past, whole, lot=0.5).scores) == 1
    assert followed(Dominance(), past, whole, lot=0.05) == whole


def test_layers_are_inverted_residuals_and_attention_layers():
    """MobileViTv2 has 1, 2, 1, 1 and 1 inverted residuals in its stages and 2, 4 and 3 attention layers."""
    size = Size.of(ArchConfig.mobilevitv2(1.0), macs=1000, params=100)
    assert size.layers == 15
    assert (np.exp(size.macs), np.exp(size.params)) == pytest.approx((1000, 100))
