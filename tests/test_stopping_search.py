"""Whole searches that stop trainings early, and what a study says of it."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import fakes
from commands import invoke
from fakes import FormulaProxy, measurement, request, trial
from mvit2_search.errors import StudyConflict
from mvit2_search.records import Audited, Finished, Infeasible, Published, Stopped, Trial
from mvit2_search.records.codec import from_json, to_json
from mvit2_search.report.figures import curves_figure
from mvit2_search.report.html import report_html
from mvit2_search.report.sentences import audit_sentences, saving_sentence, training_sentences
from mvit2_search.report.tables import summarise, trials_frame
from mvit2_search.search import runner
from mvit2_search.search.events import Listener
from mvit2_search.stopping import Audit, Saving, make_stopping_rule, saving
from mvit2_search.stopping.audit import proportion_interval
from mvit2_search.stopping.curves import lot
from mvit2_search.stopping.rules import Dominance
from mvit2_search.store import open_study
from mvit2_search.system.signals import Interrupt
from mvit2_search.train.proxies import EpochScore


class FourEpochs(FormulaProxy):
    """The same formula, its way there spread over four epochs. Notes every epoch that was asked for."""

    def __init__(self):
        super().__init__()
        self.epochs = {}

    def run(self, arch, dataset, *, seed, test_on):
        *_, last = super().run(arch, dataset, seed=seed, test_on=test_on)
        for epoch, missing in enumerate((30, 12, 5, 0), start=1):
            self.epochs[arch.key, test_on, seed] = epoch
            yield EpochScore(epoch=epoch, score=last.score - missing)


def search(asked, proxy=None, listener=None, interrupt=None):
    return fakes.search(asked, proxy=proxy or FourEpochs(), listener=listener, interrupt=interrupt)


def outcomes(study):
    return [(t.number, t.arch.key, type(t.outcome), audited(t)) for t in study.trials()]


def audited(one):
    return one.outcome.audited if isinstance(one.outcome, Finished) else None


@pytest.fixture
def eager(monkeypatch):
    """The rule as it is, but sure of itself: it stops in short searches too, and spares one of five."""

    def make(name):
        return Dominance(most_missed=1, share=0.2, larger=0) if name == "dominance" else make_stopping_rule(name)

    monkeypatch.setattr(runner, "make_stopping_rule", make)


@pytest.mark.slow
def test_a_search_stops_what_is_hopeless_and_nothing_of_the_front(tmp_path, images, eager):
    proxy = FourEpochs()
    study = search(request(tmp_path, stopping="dominance", trials=16), proxy)
    stopped = [t for t in study.trials() if isinstance(t.outcome, Stopped)]
    assert stopped
    assert not [t for t in stopped if t.published]
    for one in stopped:  # the epochs after it were never asked for
        assert proxy.epochs[one.arch.key, "selection", 0] == len(one.outcome.curve) < 4
    assert_stops_were_right(study)
    assert sum(t.is_trained_candidate for t in study.trials()) == 16
    assert summarise(study).saving.trained_epochs < summarise(study).saving.all_epochs
    assert_audits_were_drawn_by_lot(study, proxy)


def assert_audits_were_drawn_by_lot(study, proxy):
    spared = [t for t in study.trials() if audited(t)]
    assert spared
    for one in spared:
        assert lot(0, one.arch.key) < 0.2
        assert one.outcome.audited.epoch < 4 == proxy.epochs[one.arch.key, "selection", 0]
        assert one.outcome.score == one.outcome.curve[-1]
    stopped = [t for t in study.trials() if isinstance(t.outcome, Stopped)]
    assert all(lot(0, t.arch.key) >= 0.2 for t in stopped)
    assert summarise(study).saving.spared == len(spared)


@pytest.mark.slow
def test_a_search_that_is_too_short_for_the_audit_stops_nothing(tmp_path, images):
    study = search(request(tmp_path, stopping="dominance", trials=8))
    assert not [t for t in study.trials() if isinstance(t.outcome, Stopped)]
    found = summarise(study).audit
    assert found.audited < 11
    assert not found.vouches
    assert audit_sentences(found)[0] in training_sentences(summarise(study))
    assert audit_sentences(found)[0] in report_html(summarise(study))
    told = json.loads(invoke("status", study.folder, "--json").output)["stopping"]["audit"]
    assert (told["audited"], told["missed"], told["vouches"]) == (found.audited, found.missed, False)


def assert_stops_were_right(study):
    """Trained to its end, what was stopped would be dominated."""
    trained = [t for t in study.trials() if isinstance(t.outcome, Finished)]
    for one in study.trials():
        if isinstance(one.outcome, Stopped):
            *_, last = FourEpochs().run(one.arch, range_of_classes(study), seed=0, test_on="selection")
            faster = [t for t in trained if t.latency.latency_ms <= one.latency.latency_ms]
            assert last.score <= max(t.outcome.score for t in faster)


def range_of_classes(study):
    """As much of the data set as the formula looks at."""
    return SimpleNamespace(classes=study.inputs.data.classes)


class SmallerIsBetter(FourEpochs):
    def run(self, arch, dataset, *, seed, test_on):
        for score in super().run(arch, dataset, seed=seed, test_on=test_on):
            yield replace(score, score=100 - score.score)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["dominance", "halving"])
def test_published_widths_are_trained_to_the_end_however_poor(tmp_path, images, eager, rule):
    study = search(request(tmp_path, stopping=rule, trials=10), SmallerIsBetter())
    assert {type(t.outcome) for t in study.trials() if t.published} == {Finished, Infeasible}
    assert Stopped in {type(t.outcome) for t in study.trials()}


@pytest.mark.slow
def test_none_trains_everything_to_the_end(tmp_path, images):
    study = search(request(tmp_path, stopping="none", trials=16))
    assert {type(t.outcome) for t in study.trials()} == {Finished, Infeasible}
    assert summarise(study).saving.stopped == 0


@pytest.mark.slow
def test_halving_stops_in_a_search_too(tmp_path, images):
    study = search(request(tmp_path, stopping="halving", trials=12))
    stopped = [t for t in study.trials() if isinstance(t.outcome, Stopped)]
    assert {len(t.outcome.curve) for t in stopped} <= {1, 3}
    assert stopped
    assert not [t for t in stopped if t.published]


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["dominance", "halving"])
def test_a_resumed_search_stops_the_same(tmp_path, images, eager, rule):
    whole = search(request(tmp_path / "whole", data=str(tmp_path / "images"), stopping=rule, trials=16))
    asked = request(tmp_path, stopping=rule, trials=16)
    for _ in range(40):
        interrupt = Interrupt()
        search(asked, listener=StopAfter(interrupt), interrupt=interrupt)
        if open_study(asked.folder).fact("ended"):
            break
    assert outcomes(open_study(asked.folder)) == outcomes(whole)
    assert Stopped in {type(t.outcome) for t in whole.trials()}
    assert rule == "halving" or any(audited(t) for t in whole.trials())


class StopAfter(Listener):
    """Acts like Ctrl-C after three trials."""

    def __init__(self, interrupt):
        self.interrupt, self.left = interrupt, 3

    def trial_ended(self, study, trial):
        self.left -= 1
        self.interrupt.requested = self.left <= 0


@pytest.mark.slow
def test_another_rule_is_refused_by_name(tmp_path, images):
    search(request(tmp_path))
    with pytest.raises(StudyConflict, match="stopping: was none, now dominance"):
        search(request(tmp_path, stopping="dominance"))


# What the study says of it

STOPPED = Stopped(curve=(20.0, 30.0, 33.25), latencies={"host": measurement(15.0)})
WHOLE = Finished(score=70.0, curve=(30.0,) * 7 + (70.0,), latencies={"host": measurement(10.0)})


def test_the_saving_counts_every_training_once():
    trials = [
        trial(0, WHOLE, role=Published("mobilevitv2-0.5")),
        trial(1, Infeasible(latencies={"host": measurement(60)})),
        trial(2, STOPPED),
        trial(3, STOPPED, repeats=2),
    ]
    found = saving(trials, rule="dominance")
    assert found == Saving(
        rule="dominance", trainings=2, stopped=1, spared=0, missed=0, epochs=8, trained_epochs=11
    )
    assert found.all_epochs == 16


def test_the_saving_counts_audited_trainings_and_those_above_their_bound():
    bounds = [69.9, 70.0, 70.1]
    trials = [trial(i, replace(WHOLE, audited=Audited(epoch=2, bound=bound))) for i, bound in enumerate(bounds)]
    found = saving([*trials, trial(3, trials[0].outcome, repeats=0)], rule="dominance")
    assert (found.trainings, found.stopped, found.spared, found.missed) == (3, 0, 3, 1)


@pytest.mark.parametrize(("missed", "says"), [(0, "may act"), (5, "waits")])
def test_the_sentence_says_whether_stopping_may_act(missed, says):
    low, high = proportion_interval(missed, 20)
    (sentence,) = audit_sentences(Audit(audited=20, missed=missed, low=low, high=high, most_missed=0.3))
    assert says in sentence
    assert f"{100 * low:.0f} to {100 * high:.0f} %" in sentence
    assert audit_sentences(None) == []


def test_a_mark_is_kept_and_records_without_one_are_read():
    marked = replace(WHOLE, audited=Audited(epoch=2, bound=69.5))
    assert from_json(to_json(trial(0, marked)), Trial).outcome == marked
    row = to_json(trial(0, WHOLE))
    del row["outcome"]["audited"]
    assert from_json(row, Trial).outcome == WHOLE


@pytest.mark.slow
def test_the_report_says_what_was_stopped_and_where(tmp_path, images, eager):
    study = search(request(tmp_path, stopping="dominance", trials=16))
    summary = summarise(study)
    one = next(t for t in summary.trials if isinstance(t.outcome, Stopped))
    label = f"stopped after epoch {len(one.outcome.curve)} of 4"
    frame = trials_frame(summary).set_index("trial")
    assert frame.loc[one.number, "reason"] == label
    assert np.isnan(frame.loc[one.number, "accuracy_pct"])
    assert not frame.loc[one.number, "on_front"]
    html = report_html(summary)
    assert label in html
    assert saving_sentence(summary) in html
    saved = summary.saving
    assert f"{saved.stopped} of {saved.trainings} trainings" in saving_sentence(summary)
    assert f"{saved.spared} more went on as an audit, {saved.missed} to above" in saving_sentence(summary)
    assert f"trained {saved.trained_epochs} of {4 * saved.trainings} epochs" in saving_sentence(summary)
    spared = next(t for t in summary.trials if audited(t))
    assert f"after epoch {spared.outcome.audited.epoch}," in frame.loc[spared.number, "reason"]


@pytest.mark.slow
def test_the_curves_of_a_report_mark_the_ends(tmp_path, images, eager):
    summary = summarise(search(request(tmp_path, stopping="dominance", trials=16)))
    figure = curves_figure(summary)
    traces = {trace.name: trace for trace in figure.data}
    stopped = [t.outcome.curve for t in summary.trials if isinstance(t.outcome, Stopped)]
    assert traces["stopped early"].marker.symbol == "x"
    assert [y for y in traces["stopped early"].y if y is not None] == [pct for one in stopped for pct in one]
    assert sum(map(bool, traces["stopped early"].marker.size)) == len(stopped)
