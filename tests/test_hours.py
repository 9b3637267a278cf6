"""`--max-hours` bounds a whole run, whatever it is at; the same command goes on."""

import json
from functools import partial

import pytest
from click.testing import CliRunner

import fakes
import mvit2_search.search.driver as driver
from fakes import FormulaProxy, fake_exporter, macs_device, search
from mvit2_search.cli import cli
from mvit2_search.report.tables import summarise
from mvit2_search.search import events as stop_module
from mvit2_search.search.events import Listener, Stop
from mvit2_search.store import open_study
from mvit2_search.system.signals import Interrupt

pytestmark = pytest.mark.usefixtures("images")


def request(folder, **changes):
    """Random candidates: a proposal takes no time."""
    return fakes.request(folder, sampler="random", **changes)


class Clock:
    """Stands still but for an hour at each training's end."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class HourlyProxy(FormulaProxy):
    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def run(self, arch, dataset, *, seed, test_on):
        yield from super().run(arch, dataset, seed=seed, test_on=test_on)
        self.clock.now += 3600


@pytest.fixture
def proxy(monkeypatch):
    """Trains for an hour at a time."""
    clock = Clock()
    monkeypatch.setattr(stop_module, "monotonic", clock)
    return HourlyProxy(clock)


@pytest.mark.slow
def test_no_more_is_trained_than_the_hours_hold_whatever_a_run_is_at(tmp_path, proxy):
    """Three published widths, four candidates, two controls, then the confirmation: two hours at a time."""
    whole = search(request(tmp_path / "whole", data=str(tmp_path / "images"), control=2))
    asked = request(tmp_path, max_hours=2, control=2)
    parts = []
    for _ in range(20):
        before = len(proxy.trained)
        study = search(asked, proxy=proxy)
        parts.append([part for *_, part in proxy.trained[before:]])
        if study.fact("ended"):
            break
    assert all(len(part) == 2 for part in parts[:-1])
    assert 1 <= len(parts[-1]) <= 2
    assert ["selection", "selection"] in parts
    assert ["confirmation", "confirmation"] in parts
    assert study.scores() == whole.scores()
    assert study.plan() == whole.plan()
    assert summarise(study).verdict.best.trial.arch == summarise(whole).verdict.best.trial.arch


def test_a_search_that_its_hours_end_is_not_confirmed(tmp_path, proxy):
    study = search(request(tmp_path, max_hours=5), proxy=proxy)
    assert sum(t.is_trained_candidate for t in study.trials()) == 2
    assert study.scores() == []
    assert study.plan() is None


@pytest.mark.slow
def test_the_last_training_in_time_ends_the_study(tmp_path, proxy):
    whole = search(request(tmp_path / "whole", data=str(tmp_path / "images")))
    hours = 7 + len(whole.scores())
    assert search(request(tmp_path, max_hours=hours), proxy=proxy).fact("ended")
    assert not search(request(tmp_path, study="short", max_hours=hours - 1), proxy=proxy).fact("ended")


def test_ctrl_c_stops_before_the_hours_do():
    interrupt = Interrupt()
    stop = Stop(interrupt, 1)
    assert not stop.requested
    interrupt.requested = True
    assert stop.requested
    assert Stop(interrupt).requested


@pytest.mark.slow
@pytest.mark.parametrize("hours", ["1e-9", "5", "8"])
def test_a_run_that_its_hours_end_says_so_and_exits_0(tmp_path, proxy, monkeypatch, hours):
    """Before a width is trained, before the candidates are, and in the middle of the confirmation."""
    given = {"source": macs_device(), "proxy": proxy, "exporter": fake_exporter}
    monkeypatch.setattr(driver, "run_search", partial(driver.run_search, **given))
    command = ["run", "--space", "blocks", "--data", tmp_path / "images", "--latency-budget", "mobilevitv2-0.75"]
    command += ["--study", "one", "--results", tmp_path / "results", "--stopping", "none", "--trials", 4]
    command += ["--image-size", 32, "--sampler", "random"]
    result = CliRunner().invoke(cli, [str(word) for word in [*command, "--max-hours", hours]])
    assert result.exit_code == 0, result.output
    assert f"Stopped after --max-hours {float(hours):g}." in result.output
    assert "To continue:\n" in result.output
    assert "is finished" not in result.output
    assert "no published width" not in result.output
    assert "Export: " not in result.output
    assert ("Provisional: 1 of at most " in result.output) == (hours == "8")
    assert ("mobilevitv2-0.75 is within the budget but is not confirmed yet" in result.output) == (hours == "8")
    status = CliRunner().invoke(cli, ["status", str(tmp_path / "results" / "one"), "--json"])
    assert json.loads(status.output)["ended"] is None
    again = CliRunner().invoke(cli, [str(word) for word in command])
    assert again.exit_code == 0
    assert "is finished" in again.output


@pytest.mark.slow
def test_a_run_in_parts_confirms_four_candidates_at_most(tmp_path):
    """Every extension has better candidates; those confirmed before keep their scores and are not compared."""
    subjects = set()
    for trials in (3, 6, 9):
        study = search(request(tmp_path, trials=trials))
        summary = summarise(study)
        subjects |= {score.subject for score in study.scores()}
        confirmed = [c for c in summary.confirmed if c.trial.published is None]
        assert 1 <= len(confirmed) <= 4
        assert summary.verdict.gain.compared == len(confirmed)
        assert {c.trial.arch.key for c in confirmed} == set(study.plan().keys)
    widths = {c.trial.arch.key for c in summary.confirmed if c.trial.published}
    assert len(subjects - widths) > 4


@pytest.mark.slow
def test_an_extended_study_compares_what_one_that_was_asked_for_all_at_once_does(tmp_path):
    search(request(tmp_path))
    parts = summarise(search(request(tmp_path, trials=10, confirm_seeds=3)))
    whole = search(request(tmp_path / "whole", data=str(tmp_path / "images"), trials=10, confirm_seeds=3))
    assert [c.scores for c in parts.confirmed] == [c.scores for c in summarise(whole).confirmed]
    assert parts.verdict.gain == summarise(whole).verdict.gain


@pytest.mark.slow
def test_scores_of_an_earlier_choice_are_used_again(tmp_path):
    search(request(tmp_path))
    before = {(s.subject, s.seed) for s in open_study(request(tmp_path).folder).scores()}
    proxy = FormulaProxy()
    study = search(request(tmp_path, trials=6), proxy=proxy)
    assert set(study.plan().keys) & {subject for subject, _ in before}
    trained = [(key, seed) for key, seed, part in proxy.trained if part == "confirmation"]
    assert trained
    assert not before & set(trained)


@pytest.mark.slow
def test_an_extension_that_is_interrupted_ends_as_one_that_was_not(tmp_path):
    search(request(tmp_path / "whole", data=str(tmp_path / "images")))
    longer = {"trials": 6, "confirm_seeds": 3}
    whole = search(request(tmp_path / "whole", data=str(tmp_path / "images"), **longer))
    search(request(tmp_path))
    for _ in range(20):
        interrupt = Interrupt()

        class StopAtThird(Listener):
            left = 3

            def stop(self, *_):
                self.left -= 1
                interrupt.requested = self.left <= 0  # noqa: B023

            trial_ended = scored = stop

        study = search(request(tmp_path, **longer), listener=StopAtThird(), interrupt=interrupt)
        if study.fact("ended"):
            break
    assert study.fact("ended")
    assert study.scores() == whole.scores()
    assert study.plan() == whole.plan()
