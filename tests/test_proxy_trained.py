"""Short trainings certified by the full ones that `train` wrote back into a study."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from conftest import write_images
from fakes import full_training, keep_full_trainings, request, search
from mvit2_search.analysis.checked import truth_pct
from mvit2_search.api import keep_training
from mvit2_search.cli import cli
from mvit2_search.errors import SpecError, StudyConflict
from mvit2_search.records import Finished
from mvit2_search.search.trained import check_trained
from mvit2_search.store import driver_lock, open_study
from mvit2_search.store.certificates import read_check, write_check

pytestmark = pytest.mark.slow


@pytest.fixture
def study(tmp_path):
    write_images(tmp_path / "images", {"blue": 20, "red": 20})
    return search(request(tmp_path, trials=7, confirm_seeds=1))


def trained_keys(study):
    return {trial.arch.key for trial in study.all_trials() if isinstance(trial.outcome, Finished)}


def test_full_trainings_are_the_truth(study):
    keep_full_trainings(study)
    check = check_trained(study.folder)
    assert check.is_complete
    assert check == read_check(study.folder)
    assert {one.arch.key for one in check.networks} == trained_keys(study) == set(truth_pct(check))
    short = {trial.arch.key: trial for trial in study.all_trials()}
    for one in check.networks:
        score = short[one.arch.key].outcome.score
        assert check.proxy_pct[one.arch.key] == score
        assert truth_pct(check)[one.arch.key] == pytest.approx((score, score + 0.1))
        assert one.latency == short[one.arch.key].latency


def test_seeds_that_not_all_have_are_left_out(study):
    keep_full_trainings(study)
    one = next(iter(trained_keys(study)))
    keep_training(study.folder, full_training(one, 7, 50.0))
    assert check_trained(study.folder).truth_seeds == (0, 1)


def test_trainings_of_another_kind_are_left_out(study):
    keep_full_trainings(study)
    for key in list(trained_keys(study))[:2]:
        for seed in (0, 1):
            keep_training(study.folder, full_training(key, seed, 99.0, epochs=3, inputs=f"{key[:6]}e{seed}"))
    check = check_trained(study.folder)
    assert check.inputs.truth["epochs"] == 40
    assert all(one.score < 99.0 for one in check.truth)


@pytest.mark.parametrize("seeds", [(), (0,)])
def test_too_few_are_refused_with_the_command_that_adds_one(study, seeds):
    keep_full_trainings(study, seeds)
    with pytest.raises(SpecError, match=r"0 networks have 2 full trainings .* `mvit2-search train test:TRIAL`"):
        check_trained(study.folder)


def test_a_study_that_runs_is_not_touched(study):
    with driver_lock(study.folder), pytest.raises(StudyConflict):
        check_trained(study.folder)


def test_the_command_prints_the_verdict_and_writes_the_files(study, tmp_path):
    keep_full_trainings(study)
    done = CliRunner().invoke(cli, ["proxy", "trained", "test", "--results", str(tmp_path / "results")])
    assert done.exit_code == 0, done.output
    assert "Verdict: " in done.stdout
    assert (study.folder / "certificate.html").is_file()
    words = ["proxy", "trained", str(study.folder), "--json"]
    assert json.loads(CliRunner().invoke(cli, words).stdout)["complete"]
    assert len(open_study(study.folder).trainings()) == 2 * len(trained_keys(study)), "the study is as it was"


def test_a_folder_without_a_study_is_one_line(tmp_path):
    done = CliRunner().invoke(cli, ["proxy", "trained", "no", "--results", str(tmp_path)])
    assert done.exit_code == 2
    assert "no study here" in done.stderr
    assert not (tmp_path / "no").exists()


def test_a_check_with_trainings_of_its_own_is_not_replaced(study):
    keep_full_trainings(study)
    check = check_trained(study.folder)
    assert check_trained(study.folder) == check, "one of full trainings is made anew"
    drawn = replace(check, inputs=replace(check.inputs, truth={"epochs": 30}))
    write_check(study.folder, drawn)
    with pytest.raises(StudyConflict, match="trainings of its own"):
        check_trained(study.folder)
    assert read_check(study.folder) == drawn
