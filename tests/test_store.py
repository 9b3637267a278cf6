"""The study on disk: what comes back, what Optuna sees, who may write."""

import fcntl
import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import asdict

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from fakes import OUTCOMES, trial
from mvit2_search.errors import BackendUnavailable, SpecError, StorageError, StudyConflict
from mvit2_search.records import Failed, Finished, Infeasible, Prediction, Published, Score, Stopped, Trial
from mvit2_search.records.codec import from_json, to_json
from mvit2_search.store import create_study, database_path, driver_lock, find_holder, lock_path, open_study

AXES = {"width": FloatDistribution(0.5, 2.0)}
STATES = {
    Finished: TrialState.COMPLETE,
    Infeasible: TrialState.PRUNED,
    Stopped: TrialState.PRUNED,
    Failed: TrialState.FAIL,
}
PREDICTED = Prediction(latency_ms=3.4, low_ms=3.0, high_ms=3.9, predictor="a formula")
ALL = [
    *OUTCOMES,
    Stopped(curve=(20.0, 30.0), latencies={"host": OUTCOMES[1].latency}),
    Infeasible(latencies={"host": PREDICTED}),
]


@pytest.fixture
def study(tmp_path):
    with driver_lock(tmp_path / "one"):
        yield create_study(tmp_path / "one")


def ask(study):
    return study.ask(RandomSampler(), AXES)


def optuna_study(study):
    return optuna.load_study(study_name=study.name, storage=f"sqlite:///{database_path(study.folder)}")


@pytest.mark.parametrize("outcome", ALL, ids=lambda o: type(o).__name__)
def test_a_trial_comes_back_as_it_was(study, outcome):
    told = trial(ask(study).number, outcome, role=Published("mobilevitv2-0.5"))
    study.tell(told, violations={})
    assert study.trials() == open_study(study.folder).trials() == [told]
    assert from_json(json.loads(json.dumps(to_json(told))), Trial) == told
    assert optuna_study(study).trials[0].state == STATES[type(outcome)]


def test_a_record_names_a_prediction_so():
    rows = [to_json(trial(0, Infeasible(latencies={"host": one}))) for one in (PREDICTED, OUTCOMES[1].latency)]
    kinds = [row["outcome"]["latencies"]["host"]["kind"] for row in rows]
    assert kinds == ["prediction", "measurement"]


def test_optuna_sees_values_and_constraints(study):
    study.tell(trial(ask(study).number, OUTCOMES[0]), violations={"latency_ms": -3.0})
    study.tell(trial(ask(study).number, OUTCOMES[1]), violations={"latency_ms": 25.0})
    first, second = optuna_study(study).trials
    assert first.values == [71.5, 12.0]
    assert (first.constraints, second.constraints) == ({"latency_ms": -3.0}, {"latency_ms": 25.0})
    assert [t.number for t in optuna_study(study).best_trials] == [0]
    assert optuna_study(study).metric_names == ["accuracy_pct", "latency_ms"]


def test_an_open_trial_with_a_record_gets_its_outcome(study):
    number = ask(study).number
    told = trial(number, OUTCOMES[0])
    storage = study._opened
    storage.set_trial_user_attr(
        storage.get_trial_id_from_study_id_trial_number(1, number), "record", to_json(told)
    )
    assert study.trials() == []
    assert create_study(study.folder).unfinished() == []
    assert study.trials() == [told]


def test_an_open_trial_without_a_record_is_reported_and_queued_once(study):
    lost = ask(study)
    assert [p.params for p in study.unfinished()] == [lost.params]
    study.tell(trial(lost.number, Failed(reason="interrupted", message="")), violations={})
    study.queue_again(lost.number)
    study.queue_again(lost.number)
    assert study.queued()
    again = ask(study)
    assert (again.params, again.number) == (lost.params, 1)
    assert not study.queued()


def test_a_retry_that_was_killed_early_does_not_count(study):
    lost = ask(study)
    study.tell(trial(lost.number, Failed(reason="interrupted", message="")), violations={})
    study.queue_again(lost.number)
    study.abandon(ask(study).number)
    study.queue_again(lost.number)
    assert ask(study).params == lost.params


def test_another_programs_study_is_refused_and_left_alone(tmp_path):
    path = database_path(tmp_path)
    other = optuna.create_study(study_name=tmp_path.name, storage=f"sqlite:///{path}", directions=["maximize"] * 2)
    other.add_trial(optuna.trial.create_trial(values=[1.0, 2.0]))
    with pytest.raises(StorageError, match="that this program did not make"):
        create_study(tmp_path)


@pytest.mark.parametrize("name", ["a#b", "a?b", "a%41b", "a{b}", "a b"])
def test_any_path_will_do(tmp_path, name):
    with driver_lock(tmp_path / name / "one"):
        made = create_study(tmp_path / name / "one")
    made.set_fact("reference_ms", 1.0)
    made.close()
    assert open_study(tmp_path / name / "one").fact("reference_ms") == 1.0
    assert sorted(p.name for p in tmp_path.iterdir()) == [name]


def test_a_retried_width_is_still_one(study):
    study.queue({"width": 0.5}, published="mobilevitv2-0.5")
    first = ask(study)
    study.tell(trial(first.number, Failed(reason="interrupted", message="")), violations={})
    study.queue_again(first.number)
    assert ask(study).role == first.role == Published("mobilevitv2-0.5")


def test_an_abandoned_trial_is_lost_and_leaves_no_record(study):
    number = ask(study).number
    assert study.lost_numbers() == []  # it runs
    study.abandon(number)
    assert (study.lost_numbers(), study.trials(), study.unfinished()) == ([0], [], [])


def test_facts_scores_and_widths_outside_come_back(study):
    outside = trial(-1, role=Published("mobilevitv2-0.5"), arch=trial(0).arch)
    score = Score(subject="abc", seed=1, result=70.5)
    failed = Score(subject="abc", seed=2, result=Failed(reason="training", message="why"))
    study.set_fact("reference_ms", 12.5)
    study.add_beside(outside)
    for one in (score, failed):
        study.add_score(one)
    reader = open_study(study.folder)
    assert (reader.fact("reference_ms"), reader.fact("nothing")) == (12.5, None)
    assert reader.outside() == [outside]
    assert reader.scores() == [score, failed]


def test_reading_goes_on_while_another_writes(study):
    ask(study)
    writer = sqlite3.connect(database_path(study.folder), isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    try:
        assert open_study(study.folder).trials() == []
    finally:
        writer.close()


def test_reading_changes_nothing(study):
    ask(study)
    before = database_path(study.folder).read_bytes()
    open_study(study.folder).trials()
    assert database_path(study.folder).read_bytes() == before


@pytest.fixture
def holder(tmp_path):
    """Another process, which drives `tmp_path/one`."""
    code = (
        "import sys; from pathlib import Path; from mvit2_search.store import driver_lock\n"
        "with driver_lock(Path(sys.argv[1])):\n print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, tmp_path / "one"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process


@pytest.fixture
def held_elsewhere(holder, tmp_path):
    return tmp_path / "one"


@pytest.mark.slow
def test_the_second_driver_is_told_who_holds_the_study(holder, held_elsewhere):
    with pytest.raises(StudyConflict, match=rf"'one' is in use by process {holder.pid} on \S+ since 20\d\d-"):
        driver_lock(held_elsewhere).__enter__()
    holder.kill()
    holder.wait()
    with driver_lock(held_elsewhere):
        pass  # a holder that died holds nothing


@pytest.mark.slow
def test_the_lock_stays_when_its_file_is_deleted_or_replaced(held_elsewhere):
    lock_path(held_elsewhere).unlink()
    for _ in range(2):  # the first try must not leave a file that the second takes
        with pytest.raises(StudyConflict, match="'one' is in use"):
            driver_lock(held_elsewhere).__enter__()


@pytest.mark.slow
def test_the_lock_goes_with_a_folder_that_is_renamed(held_elsewhere):
    renamed = held_elsewhere.rename(held_elsewhere.with_name("two"))
    with pytest.raises(StudyConflict, match=r"'two' is in use by process \d+ on "):
        driver_lock(renamed).__enter__()
    with driver_lock(held_elsewhere):
        pass  # another folder of the old name is another study


def test_who_holds_a_study_is_found_and_looking_takes_nothing(held_elsewhere):
    holder = json.loads(lock_path(held_elsewhere).read_text())
    assert asdict(find_holder(held_elsewhere)) == holder
    free = held_elsewhere.with_name("free")
    with driver_lock(free):
        pass
    assert find_holder(free) is None
    with driver_lock(free):
        assert find_holder(free).pid == os.getpid()
    looks = os.open(free, os.O_RDONLY)
    fcntl.flock(looks, fcntl.LOCK_SH)
    assert find_holder(free) is None  # somebody else who only looks
    os.close(looks)


def test_a_holder_notices_that_its_folder_is_another(tmp_path):
    with driver_lock(tmp_path / "one") as check:
        check()
        (tmp_path / "one").rename(tmp_path / "two")
        with pytest.raises(StorageError, match="moved or deleted"):
            check()
        (tmp_path / "one").mkdir()
        with pytest.raises(StorageError, match="moved or deleted"):
            check()


def test_a_system_without_such_locks_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with pytest.raises(BackendUnavailable, match="on Windows, use WSL"):
        driver_lock(tmp_path / "one").__enter__()


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="choose another folder for `results`"):
        driver_lock(tmp_path / "file" / "one").__enter__()


@pytest.mark.parametrize("content", [b"no database" * 500, b"SQLite format 3\0" + b"\xff" * 5000])
def test_what_is_no_study_is_a_storage_error_and_is_kept(tmp_path, content):
    path = database_path(tmp_path)
    path.write_bytes(content)
    with pytest.raises(StorageError, match=r"study\.db"):
        open_study(tmp_path)
    assert path.read_bytes() == content


def test_an_empty_file_alone_is_a_study_that_has_only_just_begun(tmp_path):
    database_path(tmp_path).write_bytes(b"")
    with pytest.raises(SpecError, match="only just begun"):
        open_study(tmp_path)
    with driver_lock(tmp_path):
        create_study(tmp_path).close()


def test_a_folder_without_a_study_says_how_to_make_one(tmp_path):
    with pytest.raises(SpecError, match="no study here; `mvit2-search run` with `study` nothing"):
        open_study(tmp_path / "nothing")


def test_a_study_of_another_schema_is_refused(study):
    study.set_fact("schema", 99)
    with pytest.raises(StorageError, match="records of schema 99, this version reads 2"):
        open_study(study.folder)
