"""Stopping rules: what every one promises, the bound's coverage, and whole searches that use them."""

from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from fakes import FormulaProxy, macs_device, measurement, request, trial
from mvit2_search.errors import SpecError, StudyConflict
from mvit2_search.pareto import front_mask
from mvit2_search.proxies import EpochScore
from mvit2_search.records import Finished, Infeasible, Stopped
from mvit2_search.report import report_html, summarise, trials_frame
from mvit2_search.report.curves import curves_figure
from mvit2_search.report.saving import Saving, saving
from mvit2_search.report.sentences import saving_sentence
from mvit2_search.search import Interrupt, Silent, run_search
from mvit2_search.search.stopping import STOPPING_RULES, Curve, make_stopping_rule
from mvit2_search.search.stopping.dominance import Dominance, upper_bound_pct
from mvit2_search.search.stopping.halving import Halving, front_ranks
from mvit2_search.store import create_study, open_study

pytestmark = pytest.mark.usefixtures("instant_export")
EPOCHS = 4


def curve(*accuracy_pct, latency_ms=10.0, finished=True, allowed=True):
    return Curve(accuracy_pct=accuracy_pct, latency_ms=latency_ms, finished=finished, allowed=allowed)


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
        assert not rule.should_stop([1.0], 50.0, past)
        assert not rule.should_stop([1.0], 50.0, [])

    def test_nothing_is_stopped_after_the_last_epoch(self, rule):
        past = past_of(np.random.default_rng(0), 30)
        assert not rule.should_stop([1.0] * EPOCHS, 50.0, past)

    def test_the_order_of_what_was_trained_before_does_not_matter(self, rule):
        rng = np.random.default_rng(1)
        past = past_of(rng, 20)
        asked = [([start], latency) for start in np.linspace(45, 75, 13) for latency in (6.0, 12.0, 25.0)]
        answers = [rule.should_stop(*one, past) for one in asked]
        shuffled = [past[i] for i in rng.permutation(len(past))]
        assert [rule.should_stop(*one, shuffled) for one in asked] == answers
        assert self.name == "none" or set(answers) == {True, False}


class TestDominance(RuleContract):
    name = "dominance"


class TestHalving(RuleContract):
    name = "halving"


class TestNever(RuleContract):
    name = "none"

    def test_it_never_stops(self, rule):
        assert not rule.should_stop([1.0], 50.0, past_of(np.random.default_rng(0), 30))


def test_every_rule_has_a_contract_test():
    assert {cls.name for cls in RuleContract.__subclasses__()} == STOPPING_RULES.keys()


def test_an_unknown_rule_is_refused(tmp_path, images):
    with pytest.raises(SpecError, match="--stopping 'hope': expected one of dominance, halving, none"):
        request(tmp_path, stopping="hope")


def test_the_bound_is_the_textbook_prediction_bound():
    """By hand: x = 1, 2, 4, 5 and y = 2, 3, 7, 8 have the line 0.2 + 1.6 x, squared residuals 0.4 in all and
    squares about the mean of x 10; Student's t at 0.95 with 2 degrees of freedom is 2.919986 in every table."""
    found = upper_bound_pct(5.0, after_epoch_pct=[1, 2, 4, 5], last_pct=[2, 3, 7, 8], confidence=0.95)
    assert found == pytest.approx(8.2 + 2.919986 * (0.2 * (1 + 1 / 4 + 4 / 10)) ** 0.5, abs=1e-5)


def test_an_accuracy_that_is_always_the_same_gives_no_bound():
    assert upper_bound_pct(10.0, after_epoch_pct=[10.0] * 9, last_pct=range(9), confidence=0.95) == np.inf


@pytest.mark.parametrize("count", [4, 5, 8, 25])
@pytest.mark.parametrize("scatter", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0])
def test_the_bound_is_exceeded_as_often_as_it_says(count, scatter, slope):
    rng, tries = np.random.default_rng(count), 3000
    exceeded = 0
    for _ in range(tries):
        x = rng.normal(70, 3, count + 1)
        y = 50 + slope * x + rng.normal(0, scatter, count + 1)
        bound = upper_bound_pct(x[-1], after_epoch_pct=x[:-1], last_pct=y[:-1], confidence=0.9)
        exceeded += y[-1] > bound
    assert exceeded / tries == pytest.approx(0.1, abs=4 * (0.1 * 0.9 / tries) ** 0.5)


def search_once(rng, *, rule, trials=40, noise=1.0):
    """Candidates in turn: curves towards a last accuracy that grows with latency; whose stops were wrong.

    Returns:
        Share of epochs trained; how many stopped candidates would have been on the front; how many trials
        a bound of the rule lied below the truth for, of all.
    """
    latency = rng.uniform(5, 20, trials)
    last = 60 + 8 * np.log(latency) + rng.normal(0, 4, trials)
    approach = np.array([20.0, 8.0, 3.0, 1.0, 0.0])
    curves = last[:, None] - approach + rng.normal(0, noise, (trials, 5)) * (approach > 0)
    past, stopped = [], []
    for i in range(trials):
        stop = next((e for e in range(1, 6) if rule.should_stop(curves[i, :e], latency[i], past)), None)
        past.append(curve(*curves[i, :stop], latency_ms=latency[i], finished=stop is None))
        stopped += [i] if stop else []
    share = sum(len(one.accuracy_pct) for one in past) / (5 * trials)
    return share, int(front_mask(last, latency)[stopped].sum())


def simulated(rule, noise, tries=60):
    runs = [search_once(np.random.default_rng([seed, 7]), rule=rule, noise=noise) for seed in range(tries)]
    shares, wrong = zip(*runs, strict=True)
    return float(np.mean(shares)), sum(map(bool, wrong)) / tries


@pytest.mark.parametrize(("noise", "saves"), [(0.3, 0.6), (1.0, 0.7), (3.0, 0.9)])
def test_dominance_saves_what_the_noise_allows_and_keeps_the_front(noise, saves):
    share, wrong = simulated(Dominance(), noise)
    assert share < saves
    assert wrong <= 0.05


def test_halving_keeps_no_such_promise():
    share, wrong = simulated(Halving(), 1.0)
    assert share < 0.65
    assert wrong > 0.25


def test_a_network_beyond_the_limits_is_no_rival():
    past = [curve(50.0 + i, 70.0 + i, latency_ms=5.0, allowed=False) for i in range(12)]
    assert not Dominance().should_stop([40.0], 10.0, past)
    assert Dominance().should_stop([40.0], 10.0, [replace(one, allowed=True) for one in past])


def test_what_is_faster_than_all_before_it_is_never_stopped():
    past = past_of(np.random.default_rng(0), 30, scatter=0.01)
    fastest = min(one.latency_ms for one in past)
    assert not Dominance().should_stop([1.0], 0.99 * fastest, past)
    assert Dominance().should_stop([1.0], 20.0, past)


def test_five_trainings_must_have_finished_before_any_is_stopped():
    past = [curve(50.0 + i, 70.0 + i, latency_ms=5.0) for i in range(5)]
    assert Dominance().should_stop([30.0], 10.0, past)
    assert not Dominance().should_stop([30.0], 10.0, past[:4])
    cut = [replace(one, accuracy_pct=one.accuracy_pct[:1], finished=False) for one in past[4:]]
    assert not Dominance().should_stop([30.0], 10.0, past[:4] + cut)


def test_halving_ranks_among_those_that_were_stopped_at_the_rung_too():
    past = [curve(50.0, 70.0), *(curve(40.0 + i, finished=False) for i in range(3))]
    assert not Halving().should_stop(
        [45.0], 10.0, [*past, curve(41.0, finished=False), curve(40.0, finished=False)]
    )
    assert Halving().should_stop([45.0], 10.0, past)


def test_fronts_are_peeled_off_one_after_the_other():
    accuracy, latency = [70, 72, 71, 69, 60, 72], [1, 2, 3, 2, 9, 2]
    assert front_ranks(accuracy, latency).tolist() == [0, 0, 1, 1, 2, 0]


def test_halving_lets_the_best_third_go_on_at_its_rungs_only():
    past = [curve(*[float(p)] * 9, latency_ms=10.0) for p in range(50, 59)]
    assert [p for p in range(49, 61) if not Halving().should_stop([float(p)], 10.0, past)] == [56, 57, 58, 59, 60]
    asked = [[30.0] * epoch for epoch in range(1, 10)]
    assert [len(one) for one in asked if Halving().should_stop(one, 10.0, past)] == [1, 3]


# Whole searches


class FourEpochs(FormulaProxy):
    """The same formula, its way there spread over four epochs. Notes every epoch that was asked for."""

    def __init__(self):
        super().__init__()
        self.epochs = {}

    def run(self, arch, dataset, *, seed, test_on):
        *_, last = super().run(arch, dataset, seed=seed, test_on=test_on)
        for epoch, missing in enumerate((30, 12, 5, 0), start=1):
            self.epochs[arch.key, test_on, seed] = epoch
            yield EpochScore(epoch=epoch, accuracy_pct=last.accuracy_pct - missing)


def search(asked, proxy=None, listener=None, interrupt=None):
    run_search(
        asked,
        listener or Silent(),
        interrupt or Interrupt(),
        source=macs_device(),
        proxy=proxy or FourEpochs(),
    )
    return open_study(asked.folder)


def outcomes(study):
    return [(t.number, t.arch.key, type(t.outcome)) for t in study.trials()]


def test_a_search_stops_what_is_hopeless_and_nothing_of_the_front(tmp_path, images):
    proxy = FourEpochs()
    study = search(request(tmp_path, stopping="dominance", trials=16), proxy)
    stopped = [t for t in study.trials() if isinstance(t.outcome, Stopped)]
    assert stopped
    assert not [t for t in stopped if t.baseline]
    for one in stopped:  # the epochs after it were never asked for
        assert proxy.epochs[one.arch.key, "selection", 0] == len(one.outcome.curve_pct) < 4
    assert_stops_were_right(study)
    assert sum(t.is_trained_candidate for t in study.trials()) == 16
    assert summarise(study).saving.trained_epochs < summarise(study).saving.all_epochs


def assert_stops_were_right(study):
    """Trained to its end, what was stopped would be dominated."""
    trained = [t for t in study.trials() if isinstance(t.outcome, Finished)]
    for one in study.trials():
        if isinstance(one.outcome, Stopped):
            *_, last = FourEpochs().run(one.arch, range_of_classes(study), seed=0, test_on="selection")
            faster = [t for t in trained if t.latency.latency_ms <= one.latency.latency_ms]
            assert last.accuracy_pct <= max(t.outcome.accuracy_pct for t in faster)


def range_of_classes(study):
    """As much of the data set as the formula looks at."""
    return SimpleNamespace(classes=study.fact("inputs")["data"]["classes"])


class SmallerIsBetter(FourEpochs):
    def run(self, arch, dataset, *, seed, test_on):
        for score in super().run(arch, dataset, seed=seed, test_on=test_on):
            yield replace(score, accuracy_pct=100 - score.accuracy_pct)


@pytest.mark.parametrize("rule", ["dominance", "halving"])
def test_published_widths_are_trained_to_the_end_however_poor(tmp_path, images, rule):
    study = search(request(tmp_path, stopping=rule, trials=10), SmallerIsBetter())
    assert {type(t.outcome) for t in study.trials() if t.baseline} == {Finished, Infeasible}
    assert Stopped in {type(t.outcome) for t in study.trials()}


def test_none_trains_everything_to_the_end(tmp_path, images):
    study = search(request(tmp_path, stopping="none", trials=16))
    assert {type(t.outcome) for t in study.trials()} == {Finished, Infeasible}
    assert summarise(study).saving.stopped == 0


def test_halving_stops_in_a_search_too(tmp_path, images):
    study = search(request(tmp_path, stopping="halving", trials=12))
    stopped = [t for t in study.trials() if isinstance(t.outcome, Stopped)]
    assert {len(t.outcome.curve_pct) for t in stopped} <= {1, 3}
    assert stopped
    assert not [t for t in stopped if t.baseline]


@pytest.mark.parametrize("rule", ["dominance", "halving"])
def test_a_resumed_search_stops_the_same(tmp_path, images, rule):
    whole = search(request(tmp_path / "whole", data=str(tmp_path / "images"), stopping=rule, trials=12))
    asked = request(tmp_path, stopping=rule, trials=12)
    for _ in range(40):
        interrupt = Interrupt()
        search(asked, listener=StopAfter(interrupt), interrupt=interrupt)
        if open_study(asked.folder).fact("ended"):
            break
    assert outcomes(open_study(asked.folder)) == outcomes(whole)
    assert Stopped in {type(t.outcome) for t in whole.trials()}


class StopAfter(Silent):
    """Acts like Ctrl-C after three trials."""

    def __init__(self, interrupt):
        self.interrupt, self.left = interrupt, 3

    def trial_ended(self, study, trial):
        self.left -= 1
        self.interrupt.requested = self.left <= 0


def test_another_rule_is_refused_by_name(tmp_path, images):
    search(request(tmp_path))
    with pytest.raises(StudyConflict, match="stopping: was none, now dominance"):
        search(request(tmp_path, stopping="dominance"))


def test_a_study_of_a_version_without_stopping_goes_on_without(tmp_path, images):
    study = search(request(tmp_path))
    inputs = study.fact("inputs")
    del inputs["stopping"]
    with closing(create_study(study.folder)) as writable:
        writable.set_fact("inputs", inputs)
    with pytest.raises(StudyConflict, match="stopping: was none, now dominance"):
        search(request(tmp_path, stopping="dominance"))
    resumed = search(request(tmp_path, trials=5))
    assert summarise(resumed).candidates == 5
    assert summarise(resumed).saving.rule == "none"


# What the study says of it

STOPPED = Stopped(curve_pct=(20.0, 30.0, 33.25), latency=measurement(15.0))
WHOLE = Finished(accuracy_pct=70.0, curve_pct=(30.0,) * 7 + (70.0,), latency=measurement(10.0))


def test_the_saving_counts_every_training_once():
    trials = [
        trial(0, WHOLE, baseline="mobilevitv2-0.5"),
        trial(1, Infeasible(latency=measurement(60))),
        trial(2, STOPPED),
        trial(3, STOPPED, repeats=2),
    ]
    found = saving(trials, rule="dominance")
    assert found == Saving(rule="dominance", trainings=2, stopped=1, epochs=8, trained_epochs=11)
    assert found.all_epochs == 16


def test_the_report_says_what_was_stopped_and_where(tmp_path, images):
    study = search(request(tmp_path, stopping="dominance", trials=16))
    summary = summarise(study)
    one = next(t for t in summary.trials if isinstance(t.outcome, Stopped))
    label = f"stopped after epoch {len(one.outcome.curve_pct)} of 4"
    frame = trials_frame(summary).set_index("trial")
    assert frame.loc[one.number, "reason"] == label
    assert np.isnan(frame.loc[one.number, "accuracy_pct"])
    assert not frame.loc[one.number, "on_front"]
    html = report_html(summary)
    assert label in html
    assert saving_sentence(summary) in html
    saved = summary.saving
    assert saving_sentence(summary) == (
        f"Stopped early by dominance: {saved.stopped} of {saved.trainings} trainings; {saved.trained_epochs} of "
        f"{4 * saved.trainings} epochs were trained ({100 * saved.trained_epochs / 4 / saved.trainings:.0f} %)."
    )


def test_the_curves_of_a_report_mark_the_ends(tmp_path, images):
    summary = summarise(search(request(tmp_path, stopping="dominance", trials=16)))
    figure = curves_figure(summary)
    traces = {trace.name: trace for trace in figure.data}
    stopped = [t.outcome.curve_pct for t in summary.trials if isinstance(t.outcome, Stopped)]
    assert traces["stopped early"].marker.symbol == "x"
    assert [y for y in traces["stopped early"].y if y is not None] == [pct for one in stopped for pct in one]
    assert sum(map(bool, traces["stopped early"].marker.size)) == len(stopped)
