"""Results of full trainings, which a study keeps and its report shows."""

from dataclasses import replace

import pytest

from commands import invoke
from fakes import full_training, request, search
from mvit2_search.api import keep_training, read_study, refresh
from mvit2_search.errors import StudyConflict
from mvit2_search.report.tables import trainings_frame
from mvit2_search.store import driver_lock, open_study
from mvit2_search.train.checkpoint import LAST, read_state


@pytest.fixture
def study(tmp_path, images):
    return search(request(tmp_path, trials=1, confirm_seeds=1))


@pytest.fixture
def training(study):
    return full_training(study.trials()[0].arch.key, seed=0, score=75.0, inputs="0123")


def test_a_training_stands_in_the_report_and_takes_the_place_of_the_same_one(study, training):
    other = replace(training, inputs="4567", score=80.0)
    for one in (replace(training, score=60.0), training, other):
        keep_training(study.folder, one)
    assert open_study(study.folder).trainings() == [other, training]
    page = (study.folder / "report.html").read_text()
    assert "Full trainings" in page
    assert "not comparable with those of the short trainings" in page
    rows = trainings_frame(read_study(study.folder)).to_dict("records")
    assert [row["network"] for row in rows] == [study.trials()[0].name] * 2
    assert [row["top-1 %"] for row in rows] == [80.0, 75.0]
    assert rows[1]["± sampling"] == pytest.approx(100 * 1.96 * (0.75 * 0.25 / 300) ** 0.5, rel=1e-3)


def test_a_report_without_trainings_has_no_such_section(study):
    refresh(study)
    assert "Full trainings" not in (study.folder / "report.html").read_text()


def test_a_study_that_is_in_use_keeps_none(study, training):
    with driver_lock(study.folder), pytest.raises(StudyConflict):
        keep_training(study.folder, training)
    assert open_study(study.folder).trainings() == []


@pytest.mark.slow
def test_the_command_trains_the_best_network_of_a_study_and_keeps_the_result(study, tmp_path):
    sizes = ["--epochs", "1", "--batch-size", "8", "--image-size", "32"]
    asked = ["train", study.folder, "--data", tmp_path / "images", "--out", tmp_path / "out", *sizes]
    for _ in range(2):  # the second time there is nothing left to train
        done = invoke(*asked)
        assert done.exit_code == 0, done.output
        assert done.stdout.splitlines()[-1] == f"Report: {study.folder / 'report.html'}"
    (kept,) = open_study(study.folder).trainings()
    assert kept.key == read_study(study.folder).verdict.best.trial.arch.key
    assert kept.score == read_state(tmp_path / "out" / LAST)["rows"][0]["score"]
    assert (kept.epochs, kept.image_size, kept.images) == (1, 32, 8)
