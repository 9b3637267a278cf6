"""Stopping rules: what every one promises, the bound's coverage, and simulated searches that use them."""

from dataclasses import replace

import numpy as np
import pytest

from fakes import request
from mvit2_search.analysis.pareto import front_mask, front_ranks
from mvit2_search.errors import SpecError
from mvit2_search.stopping import STOPPING_RULES, make_stopping_rule
from mvit2_search.stopping.bound import end_bound_pct
from mvit2_search.stopping.curves import Curve, Size
from mvit2_search.stopping.rules import Dominance, Halving

EPOCHS = 4
ANY = Size(macs=0, params=0, layers=0)
PLAIN = {"most_missed": 1, "share": 0, "larger": 0, "slack": 0}  # the bound alone


def curve(*accuracy_pct, latency_ms=10.0, finished=True, allowed=True, size=ANY):
    return Curve(scores=accuracy_pct, latency_ms=latency_ms, finished=finished, allowed=allowed, size=size)


def stops(rule, scores, latency_ms, past, *, lot=0.5, size=ANY):
    verdict = rule.judge(curve(*scores, latency_ms=latency_ms, finished=False, size=size), past, lot=lot)
    return verdict is not None and verdict.stops


def past_of(rng, count, epochs=EPOCHS, scatter=1.0):
    """Trainings that end 20 points above their first epoch, more or less."""
    starts = rng.uniform(50, 70, count)
    return [
        curve(*np.linspace(start, start + 20 + rng.normal(0, scatter), epochs), latency_ms=rng.uniform(5, 20))
        for start in starts
    ]


class RuleContract:
    """What every rule promises."""

    name: str

    @pytest.fixture
    def rule(self):
        return make_stopping_rule(self.name)

    def test_nothing_is_stopped_before_a_training_has_finished(self, rule):
        past = [curve(90.0, latency_ms=1.0, finished=False)] * 20
        assert not stops(rule, [1.0], 50.0, past)
        assert not stops(rule, [1.0], 50.0, [])

    def test_nothing_is_stopped_after_the_last_epoch(self, rule):
        past = past_of(np.random.default_rng(0), 30)
        assert not stops(rule, [1.0] * EPOCHS, 50.0, past)

    def test_the_order_of_what_was_trained_before_does_not_matter(self, rule):
        rng = np.random.default_rng(1)
        past = past_of(rng, 40)
        asked = [([start], latency) for start in np.linspace(45, 75, 13) for latency in (6.0, 12.0, 25.0)]
        answers = [stops(rule, *one, past) for one in asked]
        shuffled = [past[i] for i in rng.permutation(len(past))]
        assert [stops(rule, *one, shuffled) for one in asked] == answers
        assert self.name == "none" or set(answers) == {True, False}


class TestDominance(RuleContract):
    name = "dominance"


class TestHalving(RuleContract):
    name = "halving"


class TestNever(RuleContract):
    name = "none"

    def test_it_never_stops(self, rule):
        assert not stops(rule, [1.0], 50.0, past_of(np.random.default_rng(0), 30))


def test_every_rule_has_a_contract_test():
    assert {cls.name for cls in RuleContract.__subclasses__()} == STOPPING_RULES.keys()


def test_an_unknown_rule_is_refused(tmp_path):
    with pytest.raises(SpecError, match=r"stopping.*hope.*expected one of dominance, halving, none"):
        request(tmp_path, stopping="hope")


FOUR = [(1, 10, 2), (2, 20, 3), (4, 40, 7), (5, 50, 8)]


@pytest.mark.parametrize(
    ("curve", "finished_pct", "x"),
    [
        ([5], [(1, 2), (2, 3), (4, 7), (5, 8)], 5.0),
        ([5, 50], FOUR, 5.0),
        # deviations of the five after either epoch: the roots of 2.16 and 344
        ([4, 60], FOUR, (4 / 2.16**0.5 + 60 / 344**0.5) / (1 / 2.16**0.5 + 10 / 344**0.5)),
        ([9, 5], [(9, 1, 2), (9, 2, 3), (9, 4, 7), (9, 5, 8)], 5.0),  # epoch 1 says nothing
        ([7, 5], [(9, 1, 2), (9, 2, 3), (9, 4, 7), (9, 5, 8)], 5.0),
    ],
)
def test_the_bound_is_the_textbook_prediction_bound(curve, finished_pct, x):
    """By hand: x = 1, 2, 4, 5 and y = 2, 3, 7, 8 have the line 0.2 + 1.6 x, squared residuals 0.4 in all and
    squares about the mean of x 10; Student's t at 0.95 with 2 degrees of freedom is 2.919986 in every table."""
    found = end_bound_pct(curve, finished_pct, confidence=0.95)
    scatter = (0.2 * (1 + 1 / 4 + (x - 3) ** 2 / 10)) ** 0.5
    assert found == pytest.approx(0.2 + 1.6 * x + 2.919986 * scatter, abs=1e-5)


def test_one_poor_epoch_is_forgiven():
    """Eight end 10 points above their level; the ninth is in the middle of them but for epoch 1."""
    rng = np.random.default_rng(5)
    finished = [[*(level + rng.normal(0, 0.3, 5)), level + 10 + rng.normal(0, 0.3)] for level in range(60, 68)]
    poor = [54.0, *[64.0] * 4]
    assert end_bound_pct(poor[:1], finished, confidence=0.999) < 70
    assert min(end_bound_pct(poor[:epoch], finished, confidence=0.999) for epoch in (4, 5)) > 74


def test_accuracies_that_are_always_the_same_give_no_bound():
    assert end_bound_pct([10.0, 9.0], [(10.0, 10.0, last) for last in range(9)], confidence=0.95) == np.inf


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("count", [4, 8, 25])
@pytest.mark.parametrize("scatter", [0.1, 5.0])
@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_the_bound_is_exceeded_as_often_as_it_says(epochs, count, scatter, slope):
    rng, tries = np.random.default_rng(count), 1500
    exceeded = 0
    for _ in range(tries):
        level = rng.normal(70, 3, count + 1)
        x = level[:, None] + rng.normal(0, scatter, (count + 1, epochs)) * (epochs > 1)
        y = 50 + slope * level + rng.normal(0, scatter, count + 1)
        finished = np.column_stack([x[:-1], y[:-1]]).tolist()
        exceeded += y[-1] > end_bound_pct(x[-1].tolist(), finished, confidence=0.9)
    assert exceeded / tries == pytest.approx(0.1, abs=4 * (0.1 * 0.9 / tries) ** 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.5, 2.0])
def test_a_training_ends_above_any_of_its_bounds_as_seldom_as_the_confidence_says(noise):
    """Noise that grows with the epoch and has nothing in common: then nearly all of the risk is used."""
    rng, tries, rule = np.random.default_rng(3), 1500, Dominance(confidence=0.8, **PLAIN)
    above = 0
    for _ in range(tries):
        last = rng.normal(70, 3, 13)
        curves = [[*(one - rng.normal([9, 5, 2], [0.05 * noise, 0.25 * noise, noise])), one] for one in last]
        finished = [curve(*one) for one in curves[1:]]
        above += any(last[0] > rule.bound_pct(curve(*curves[0][:epoch]), finished) for epoch in (1, 2, 3))
    assert 0.15 < above / tries <= 0.2 + 2 * (0.2 * 0.8 / tries) ** 0.5


@pytest.mark.slow
def test_bounds_hold_where_stopped_trainings_are_missing():
    """Of simulated searches, all candidates that had a bound, those that were stopped among them."""
    rule, above, bounded = Dominance(confidence=0.8, **PLAIN), 0, 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        past = []
        for last in rng.normal(70, 3, 30):
            seen = [*(last - [9, 5, 2] + rng.normal(0, [3, 2, 1])), last]
            bounds = [
                rule.bound_pct(curve(*seen[:epoch]), [one for one in past if one.finished]) for epoch in (1, 2, 3)
            ]
            stop = next((e for e in (1, 2, 3) if stops(rule, seen[:e], 10.0, past)), None)
            past.append(curve(*seen[:stop], finished=stop is None))
            above, bounded = above + (last > min(bounds)), bounded + (min(bounds) < np.inf)
    assert bounded > 1000
    assert 0.05 < above / bounded <= 0.2


def search_once(rng, *, rule, trials=40, noise=1.0):
    """Candidates in turn: curves towards a last accuracy that grows with latency; whose stops were wrong.

    Returns:
        Share of epochs trained; how many stopped candidates would have been on the front.
    """
    latency = rng.uniform(5, 20, trials)
    last = 60 + 8 * np.log(latency) + rng.normal(0, 4, trials)
    approach = np.array([20.0, 8.0, 3.0, 1.0, 0.0])
    curves = last[:, None] - approach + rng.normal(0, noise, (trials, 5)) * (approach > 0)
    past, stopped = [], []
    for i in range(trials):
        stop = next((e for e in range(1, 6) if stops(rule, curves[i, :e], latency[i], past)), None)
        past.append(curve(*curves[i, :stop], latency_ms=latency[i], finished=stop is None))
        stopped += [i] if stop else []
    share = sum(len(one.scores) for one in past) / (5 * trials)
    return share, int(front_mask(last, latency)[stopped].sum())


def simulated(rule, noise, tries=60):
    runs = [search_once(np.random.default_rng([seed, 7]), rule=rule, noise=noise) for seed in range(tries)]
    shares, wrong = zip(*runs, strict=True)
    return float(np.mean(shares)), sum(map(bool, wrong)) / tries


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "saves"), [(0.3, 0.56), (1.0, 0.65), (3.0, 0.82)])
def test_dominance_saves_what_the_noise_allows_and_keeps_the_front(noise, saves):
    share, wrong = simulated(Dominance(**PLAIN), noise)
    assert share < saves
    assert wrong <= 0.05


def test_halving_keeps_no_such_promise():
    share, wrong = simulated(Halving(), 1.0)
    assert share < 0.65
    assert wrong > 0.25


def test_a_network_beyond_the_limits_is_no_rival():
    past = [curve(50.0 + i, 70.0 + i, latency_ms=5.0, allowed=False) for i in range(12)]
    assert not stops(Dominance(**PLAIN), [40.0], 10.0, past)
    assert stops(Dominance(**PLAIN), [40.0], 10.0, [replace(one, allowed=True) for one in past])


def test_what_is_faster_than_all_before_it_is_never_stopped():
    past = past_of(np.random.default_rng(0), 30, scatter=0.01)
    fastest = min(one.latency_ms for one in past)
    assert not stops(Dominance(**PLAIN), [1.0], 0.99 * fastest, past)
    assert stops(Dominance(**PLAIN), [1.0], 20.0, past)


def test_five_trainings_must_have_finished_before_any_is_stopped():
    past = [curve(50.0 + i, 70.0 + i, latency_ms=5.0) for i in range(5)]
    assert stops(Dominance(**PLAIN), [30.0], 10.0, past)
    assert not stops(Dominance(**PLAIN), [30.0], 10.0, past[:4])
    cut = [replace(one, scores=one.scores[:1], finished=False) for one in past[4:]]
    assert not stops(Dominance(**PLAIN), [30.0], 10.0, past[:4] + cut)


def test_halving_ranks_among_those_that_were_stopped_at_the_rung_too():
    past = [curve(50.0, 70.0), *(curve(40.0 + i, finished=False) for i in range(3))]
    assert not stops(Halving(), [45.0], 10.0, [*past, curve(41.0, finished=False), curve(40.0, finished=False)])
    assert stops(Halving(), [45.0], 10.0, past)


def test_fronts_are_peeled_off_one_after_the_other():
    accuracy, latency = [70, 72, 71, 69, 60, 72], [1, 2, 3, 2, 9, 2]
    assert front_ranks(accuracy, latency).tolist() == [0, 0, 1, 1, 2, 0]


def test_halving_lets_the_best_third_go_on_at_its_rungs_only():
    past = [curve(*[float(p)] * 9, latency_ms=10.0) for p in range(50, 59)]
    assert [p for p in range(49, 61) if not stops(Halving(), [float(p)], 10.0, past)] == [56, 57, 58, 59, 60]
    asked = [[30.0] * epoch for epoch in range(1, 10)]
    assert [len(one) for one in asked if stops(Halving(), one, 10.0, past)] == [1, 3]
