"""What a study answers on the command line: the best, the fastest that is as good, and how sure that is."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from commands import invoke
from fakes import FormulaProxy, request, search
from mvit2_search.api import read_study
from mvit2_search.search.events import Listener
from mvit2_search.system.signals import Interrupt

pytestmark = pytest.mark.usefixtures("images")


def answer(folder):
    return json.loads(invoke("status", folder, "--json").output)


@pytest.fixture
def study(tmp_path):
    """So few test images that nothing is told apart: the best and the fastest are two."""
    return search(request(tmp_path, sampler="random")).folder


@pytest.mark.slow
def test_the_best_confirmed_is_exported_and_the_fastest_that_is_as_good_on_request(study):
    invoke("report", study)
    frame = pd.read_csv(study / "pareto.csv")
    rows = frame[frame.within_budget.fillna(False).astype(bool) & frame.confirmed_pct.notna()]
    best, fastest = rows.loc[rows.confirmed_pct.idxmax()], rows.loc[rows.latency_ms.idxmin()]
    assert best.key != fastest.key
    said = answer(study)
    assert (said["best"]["key"], said["export"]["key"], said["fastest"]["key"]) == (
        best.key,
        best.key,
        fastest.key,
    )
    costs = said["fastest_costs_points"]
    assert costs["mean"] <= costs["uncorrected"] == pytest.approx(best.confirmed_pct - fastest.confirmed_pct)
    for pick, key in (([], best.key), (["--pick", "best"], best.key), (["--pick", "fastest"], fastest.key)):
        exported = json.loads(invoke("export", study, *pick, "--json").output)
        assert exported["key"] == key
        assert Path(exported["path"]).parent.name == key


@pytest.mark.slow
def test_status_and_report_say_what_the_fastest_costs(study):
    line = next(x for x in invoke("status", study).output.splitlines() if x.startswith("To export: "))
    assert line.endswith("--pick fastest exports it.")
    said = answer(study)
    assert said["fastest"]["key"] in line
    assert f"costs {said['fastest_costs_points']['mean']:.2f} points" in line
    assert f"(uncorrected {said['fastest_costs_points']['uncorrected']:+.2f})" in line
    page = Path(invoke("report", study).output.strip()).read_text()
    assert "<code>pick</code> fastest" in page


@pytest.mark.slow
def test_the_best_is_called_the_best_of_so_many(study):
    frame = pd.read_csv(study / "pareto.csv") if invoke("report", study).exit_code == 0 else None
    compared = (frame.within_budget.fillna(False).astype(bool) & frame.confirmed_pct.notna()).sum()
    line = next(x for x in invoke("status", study).output.splitlines() if x.startswith("Best within the budget"))
    assert f"(slightly optimistic, as it is the best of {compared})" in line


class AllEqual(FormulaProxy):
    """Every network reaches 80 %, give or take a point."""

    def run(self, arch, dataset, *, seed, test_on):
        noise = np.random.default_rng([int(arch.key, 16), seed]).normal()
        for score in super().run(arch, dataset, seed=seed, test_on=test_on):
            yield type(score)(epoch=score.epoch, score=80 + noise)


def test_the_gain_is_stated_corrected_for_the_choice_and_its_interval_holds_it(tmp_path):
    study = search(request(tmp_path, sampler="random", confirm_seeds=3), proxy=AllEqual()).folder
    gain = answer(study)["gain_points"]
    assert gain["compared"] > 1
    assert gain["low"] <= gain["mean"] < gain["uncorrected"] <= gain["high"]
    line = next(x for x in invoke("status", study).output.splitlines() if x.startswith("Gain of "))
    assert f"{gain['mean']:+.2f} points" in line
    assert f"best of {gain['compared']} candidates (uncorrected {gain['uncorrected']:+.2f})" in line
    assert "seeds are independent" in Path(invoke("report", study).output.strip()).read_text()


class WidthsWin(FormulaProxy):
    """Nothing is as accurate as a published width of 0.75."""

    def run(self, arch, dataset, *, seed, test_on):
        for score in super().run(arch, dataset, seed=seed, test_on=test_on):
            width = arch.key == "bd11eccc8f2f"
            yield type(score)(epoch=score.epoch, score=99.0 if width else score.score)


@pytest.mark.slow
def test_a_published_width_that_is_best_is_exported_and_called_so(tmp_path):
    study = search(request(tmp_path, sampler="random"), proxy=WidthsWin()).folder
    said = answer(study)
    assert said["export"]["published"] == "mobilevitv2-0.75"
    assert json.loads(invoke("export", study, "--json").output)["key"] == said["best"]["key"]
    assert "a published width: no candidate scored higher" in invoke("status", study).output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--trial", 0, "--pick", "best"], "--trial and --pick"),
        (["--pick", "cheapest"], "is not one of 'best', 'fastest'"),
    ],
)
def test_two_ways_to_name_an_architecture_are_refused(study, words, message):
    result = invoke("export", study, *words)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_network_that_is_named_by_itself_has_no_pick(tmp_path):
    result = invoke("export", "mobilevitv2-0.5", "--pick", "fastest", "--results", tmp_path)
    assert result.exit_code == 2
    assert "--pick needs a study" in result.stderr


@pytest.fixture
def half(tmp_path):
    """Stopped after the first training of the confirmation, a candidate's."""
    interrupt = Interrupt()

    class StopAtScore(Listener):
        def scored(self, study, score, name):
            interrupt.requested = True

    asked = request(tmp_path, sampler="random")
    return search(asked, listener=StopAtScore(), interrupt=interrupt).folder


@pytest.mark.slow
def test_what_is_said_in_the_middle_of_the_confirmation_is_provisional(half, tmp_path):
    said = answer(half)
    assert said["provisional"] is True
    assert said["published"] is None
    page = Path(invoke("report", half).output.strip()).read_text()
    for text in (invoke("status", half).output, page):
        assert "Provisional: 1 of at most " in text
        assert "Best within the budget so far: trial" in text
        assert "To export so far: " in text
        assert "mobilevitv2-0.75 is within the budget but is not confirmed yet" in text
        assert "no published width" not in text
    search(request(tmp_path, sampler="random"))
    assert answer(half)["provisional"] is False
    assert "rovisional" not in invoke("status", half).output


class Asked(FormulaProxy):
    """What `status` says of the confirmation while each of its trainings runs."""

    def __init__(self, folder):
        super().__init__()
        self.folder, self.told = folder, []

    def run(self, arch, dataset, *, seed, test_on):
        if test_on == "confirmation":
            lines = invoke("status", self.folder).output.splitlines()
            self.told += [line for line in lines if "confirmation trainings are done" in line]
        yield from super().run(arch, dataset, seed=seed, test_on=test_on)


@pytest.mark.slow
def test_a_training_of_the_confirmation_that_runs_is_not_done(tmp_path):
    asked = request(tmp_path, sampler="random")
    proxy = Asked(asked.folder)
    scores = search(asked, proxy=proxy).scores()
    done = [int(line.split("Provisional: ")[1].split()[0]) for line in proxy.told]
    assert done == list(range(1, len(scores)))  # during the first there is nothing to be provisional


@pytest.mark.slow
def test_an_export_before_the_end_writes_and_says_that_it_is_provisional(half):
    early = invoke("export", half, "--json")
    assert early.exit_code == 0
    assert json.loads(early.stdout)["key"] == answer(half)["export"]["key"]
    assert early.stderr.startswith("note: Provisional: 1 of at most ")
    assert invoke("export", half, "--trial", 0).stderr == ""


@pytest.mark.slow
def test_an_export_after_the_end_says_nothing_of_the_kind(study):
    assert invoke("export", study).stderr == ""


@pytest.mark.slow
def test_a_finished_study_that_is_extended_is_provisional_until_its_new_candidates_are_confirmed(study, tmp_path):
    interrupt = Interrupt()

    class StopAtTrial(Listener):
        def trial_ended(self, study, trial):
            interrupt.requested = True

    longer = request(tmp_path, sampler="random", trials=6)
    search(longer, listener=StopAtTrial(), interrupt=interrupt)
    assert answer(study)["provisional"] is True
    assert "Provisional: the study is not finished" in invoke("status", study).output
    assert read_study(study).confirmation is None  # that of all candidates has not begun
