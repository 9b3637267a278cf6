"""What `status` says of a search at every moment, from the first on."""

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

import mvit2_search.search.events as watch
from commands import invoke
from conftest import write_images
from fakes import finished, request, search, trial
from forks import in_fork
from mvit2_search.analysis.confirmation import ConfirmationProgress, Confirmed
from mvit2_search.errors import StorageError
from mvit2_search.records import Goals, Published
from mvit2_search.report.progress import State, duration, state_json, state_sentences, time_left
from mvit2_search.search.events import Listener
from mvit2_search.store import Activity, Holder, driver_lock, write_activity
from test_report import summary

GOALS = Goals(trials=10, confirm_seeds=3)


def status(folder):
    """Both forms, which must be there at any time."""
    printed, data = invoke("status", folder), invoke("status", folder, "--json")
    assert (printed.exit_code, data.exit_code) == (0, 0), printed.stderr + data.stderr
    return printed.output, json.loads(data.output)


class Asks(Listener):
    """Asks for the status at every event, and keeps what it is told by phase."""

    def __init__(self, folder):
        self.folder, self.told = folder, {}

    def _ask(self):
        text, data = status(self.folder)
        self.told.setdefault(data["phase"], []).append((text, data))

    def phase(self, name):
        self._ask()

    def working(self, text):
        self._ask()

    def trial_ended(self, study, trial):
        self._ask()

    def scored(self, study, score, name):
        self._ask()


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What was told in one search, at every event."""
    folder = tmp_path_factory.mktemp("told")
    write_images(folder / "images", {"blue": 20, "red": 20})
    asked = request(folder, control=1)
    listener = Asks(asked.folder)
    search(asked, listener=listener)
    return listener.told


@pytest.mark.slow
def test_every_phase_is_told_with_what_runs_it(told):
    assert list(told) == [
        "loading images",
        "timing the reference",
        "published widths",
        "searching",
        "random control",
        "confirming",
    ]
    for text, data in (pair for pairs in told.values() for pair in pairs):
        assert data["process"]["pid"] == os.getpid()
        assert (
            f"Process {os.getpid()} on {data['process']['host']} has been running it since "
            f"{data['process']['since']}." in text
        )
    assert (
        len({frozenset(data) for pairs in told.values() for _, data in pairs}) == 1
    )  # the same names at any time


@pytest.mark.slow
def test_the_current_trial_and_its_epoch_are_told(told):
    now = [data["now"] for _, data in told["searching"] if data["now"]["subject"]]
    assert {one["subject"] for one in now} >= {"trial 4", "trial 5"}
    assert any("training, epoch 2: " in (one["doing"] or "") for one in now)
    assert any("Now: trial 4, training, epoch 1: " in text for text, _ in told["searching"])
    assert any(data["now"]["subject"] == "mobilevitv2-0.75" for _, data in told["published widths"])


@pytest.mark.slow
def test_the_time_left_is_not_known_before_a_candidate_is_trained(told):
    for phase in ("loading images", "timing the reference", "published widths"):
        assert all(data["seconds_left"] is None for _, data in told[phase])
        assert all("Time left: not known yet." in text for text, _ in told[phase])
    last = told["searching"][-1][1]
    assert last["seconds_left"] >= 0
    assert "confirmation trainings" in last["seconds_left_from"]


@pytest.mark.slow
def test_a_finished_study_is_told_as_such_and_leaves_no_trace_of_running(tmp_path, images):
    folder = search(request(tmp_path)).folder
    text, data = status(folder)
    assert "Phase: finished. No process is running it." in text
    assert (data["phase"], data["process"], data["now"], data["seconds_left"]) == ("finished", None, None, None)
    assert not (folder / "progress.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["loading images", "timing the reference", "searching"])
def test_a_killed_driver_is_not_taken_for_a_running_one(tmp_path, images, moment):
    asked = request(tmp_path)

    class Dies(Listener):
        def phase(self, name):
            if name == moment:
                os._exit(137)

    assert in_fork(lambda: search(asked, listener=Dies())) == 137
    assert (asked.folder / "progress.json").is_file()
    text, data = status(asked.folder)
    assert "Phase: stopped. No process is running it; the command that started it continues it." in text
    assert (data["phase"], data["process"], data["now"]) == ("stopped", None, None)
    for command in ("report", "export"):
        result = invoke(command, asked.folder)
        assert result.exit_code == (0 if (command, moment) == ("report", "searching") else 2)
        assert result.stderr.count("\n") <= 1
    with driver_lock(asked.folder):  # the next driver, which has not said what it does yet
        assert status(asked.folder)[1]["phase"] in ("starting", moment)
    assert search(asked).fact("ended")


def test_what_a_killed_driver_left_is_not_what_the_next_one_does(tmp_path):
    with driver_lock(tmp_path):
        left = Activity(pid=os.getpid() + 1, phase="searching", subject="trial 3", doing=None, since="2026-01-01")
        write_activity(tmp_path, left)
        assert status(tmp_path)[1]["phase"] == "starting"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', "null"])
def test_a_broken_note_of_what_is_done_is_no_error(tmp_path, text):
    with driver_lock(tmp_path):
        (tmp_path / "progress.json").write_text(text)
        assert status(tmp_path)[1]["phase"] == "starting"


@pytest.mark.slow
def test_a_disk_that_is_full_for_the_note_ends_no_search(tmp_path, images):
    asked = request(tmp_path)
    (asked.folder / "progress.json").mkdir(parents=True)  # cannot be written over
    (asked.folder / "driver.lock").touch()
    assert search(asked).fact("ended")


def test_what_is_no_study_is_still_none(tmp_path):
    assert invoke("status", tmp_path / "nothing").exit_code == 2


def test_the_time_left_by_hand():
    """Two of ten candidates took 60 and 30 s, and one over the budget 6 s: 48 s for each that is trained."""
    trials = [
        trial(0, finished(70, 10), role=Published("mobilevitv2-0.5"), seconds=100.0),
        trial(1, finished(75, 20), seconds=60.0),
        trial(2, finished(75, 20), seconds=30.0),
        trial(3, seconds=6.0, repeats=1),
    ]
    one = Confirmed(trial=trials[1], scores={1000: 76.0, 1001: 77.0})
    left = time_left(summary(trials=trials, confirmed=[one], ended=None), GOALS)
    training = (100 + 60 + 30) / 3
    assert left.seconds == pytest.approx(8 * 48 + (6 * 3 - 2) * training)
    assert left.basis == (
        "8 candidates at 48 s each, at most 16 confirmation trainings at 63 s each, estimated from 3 trials"
    )
    limited = time_left(summary(trials=trials, confirmed=[one], ended=None), GOALS, search_s=100.0)
    assert limited.seconds == 100
    assert limited.basis.startswith("`max_hours` ends this run")
    assert duration(left.seconds) in limited.basis
    assert time_left(summary(trials=trials, confirmed=[one], ended=None), GOALS, search_s=9e9) == left
    control = time_left(summary(trials=trials, confirmed=[one], ended=None), replace(GOALS, control=2))
    assert control.seconds == pytest.approx(left.seconds + 2 * 48)


def test_the_time_left_follows_from_the_plan_of_the_confirmation_as_soon_as_there_is_one():
    """One candidate and two seeds: it and two published widths, of which four trainings are done."""
    trials = [trial(1, finished(75, 20), seconds=60.0)]
    asked = replace(GOALS, trials=1, confirm_seeds=2)
    known = {"trials": trials, "confirmed": [], "ended": None}
    assert "at most 6 confirmation trainings" in time_left(summary(**known), asked).basis
    begun = summary(**known, confirmation=ConfirmationProgress(done=4, planned=6, seeds=2))
    assert "at most 2 confirmation trainings" in time_left(begun, asked).basis
    assert time_left(begun, asked).seconds == 2 * 60
    assert (
        "at most 9 confirmation trainings" in time_left(begun, replace(asked, confirm_seeds=3)).basis
    )  # not planned yet
    longer = replace(asked, trials=2)
    assert "1 candidate at 60 s, at most" in time_left(begun, longer).basis
    assert "at most 8 confirmation trainings" in time_left(begun, longer).basis


def test_what_goes_beyond_what_is_asked_for_leaves_no_less_than_nothing():
    known = {"trials": [trial(i, finished(75, 20), seconds=60.0) for i in (1, 2)], "confirmed": [], "ended": None}
    asked = replace(GOALS, trials=1, confirm_seeds=0)
    assert time_left(summary(**known), asked).seconds == 0
    begun = summary(**known, confirmation=ConfirmationProgress(done=5, planned=8, seeds=2))
    assert time_left(begun, replace(asked, trials=2, confirm_seeds=1)).seconds == 3 * 60


def test_what_is_trained_beside_the_trials_counts():
    """Trained random architectures are not left; a width outside of the space tells how long one takes."""
    known = {"trials": [trial(1, finished(75, 20), seconds=60.0)], "confirmed": [], "ended": None}
    controls = [trial(7, finished(70, 10), seconds=60.0), trial(8, seconds=60.0)]
    outside = [trial(-1, finished(70, 10), role=Published("mobilevitv2-0.5"), seconds=120.0)]
    asked = replace(GOALS, trials=1, confirm_seeds=1, control=5)
    left = time_left(summary(**known, controls=controls, outside=outside), asked)
    assert left.basis.startswith("3 random networks at 60 s each, at most 3 confirmation trainings at 90 s each")


def test_where_nothing_is_left_it_is_said_so():
    trials = [trial(1, finished(75, 20), seconds=60.0)]
    done = summary(
        trials=trials, confirmed=[], ended=None, confirmation=ConfirmationProgress(done=6, planned=6, seeds=2)
    )
    asked = replace(GOALS, trials=1, confirm_seeds=2)
    holder = Holder(pid=1, host="here", since=datetime.now(UTC).isoformat())
    state = State(name="a", summary=done, holder=holder, activity=None, goals=asked)
    assert state_sentences(state)[-1] == "Time left: about 0 s: nothing is left to train."


def test_hours_count_from_the_start_of_the_process():
    started = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
    holder = Holder(pid=1, host="here", since=started)
    trials = [trial(1, finished(75, 20), seconds=3600.0)]
    over = State(
        name="a",
        summary=summary(trials=trials, confirmed=[], ended=None),
        holder=holder,
        activity=None,
        goals=replace(GOALS, max_hours=1.0, confirm_seeds=0),
    )
    assert state_json(over)["seconds_left"] == 0.0
    assert "Phase: starting. Process 1 on here" in state_sentences(over)[0]


def test_hours_that_have_begun_are_told_in_seconds():
    half = (datetime.now(UTC) - timedelta(minutes=30)).isoformat()
    known = summary(trials=[trial(1, finished(75, 20), seconds=3600.0)], confirmed=[], ended=None)
    holder, asked = Holder(pid=1, host="here", since=half), replace(GOALS, max_hours=1.0)
    state = State(name="a", summary=known, holder=holder, activity=None, goals=asked)
    assert state_json(state)["seconds_left"] == pytest.approx(1800, abs=60)


def test_what_is_done_now_counts_from_its_own_beginning():
    now = datetime.now(UTC)
    holder = Holder(pid=1, host="here", since=(now - timedelta(hours=5)).isoformat())
    begun = (now - timedelta(minutes=30)).isoformat()
    doing = Activity(pid=1, phase="searching", subject="trial 3", doing="training", since=begun)
    state = State(name="a", summary=None, holder=holder, activity=doing, goals=None)
    assert "Now: trial 3, training (for 30 min)." in state_sentences(state)


def test_a_turn_begins_anew_and_a_phase_has_no_subject_yet(tmp_path, monkeypatch):
    times = map(str, range(9))
    monkeypatch.setattr(watch, "_now", lambda: next(times))
    arch, told = trial(0).arch, []

    def tell():
        known = json.loads((tmp_path / "progress.json").read_text())
        told.append((known["phase"], known["subject"], known["doing"], known["since"]))

    with watch.Watch(tmp_path, Listener(), lambda: None) as watched:
        for happens in (
            lambda: watched.phase("searching"),
            lambda: watched.started("trial 3", arch),
            lambda: watched.working("training"),
            lambda: watched.started("mobilevitv2-0.5", arch),
            lambda: watched.phase("confirming"),
        ):
            happens()
            tell()
    assert told == [
        ("searching", None, None, "1"),
        ("searching", "trial 3", "starting", "2"),
        ("searching", "trial 3", "training", "2"),
        ("searching", "mobilevitv2-0.5", "starting", "3"),
        ("confirming", None, None, "4"),
    ]
    assert not (tmp_path / "progress.json").exists()


def test_what_is_in_a_folder_that_is_another_one_now_stays(tmp_path):
    moved = []

    def check():
        if moved:
            raise StorageError("the folder was moved")

    with watch.Watch(tmp_path, Listener(), check):
        moved.append(True)
    assert (tmp_path / "progress.json").exists()


@pytest.mark.parametrize(("seconds", "text"), [(40, "40 s"), (99, "99 s"), (720, "12 min"), (12_600, "3.5 h")])
def test_durations(seconds, text):
    assert duration(seconds) == text
