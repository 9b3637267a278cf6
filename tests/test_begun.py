"""A study that has only just begun, or was killed while it did: it can always be read and always goes on."""

import os

import pytest
import sqlalchemy
from click.testing import CliRunner

from fakes import request, search
from forks import in_fork
from mvit2_search.cli import cli
from mvit2_search.store import Study, database_path, driver_lock
from mvit2_search.store.integrity import Digests
from mvit2_search.store.storage import SqliteStorage

pytestmark = pytest.mark.usefixtures("images")
FIRST = 20  # writes


def count_down(left):
    """A function that ends this process at the call after `left` others."""
    calls = iter(range(left))
    return lambda *_: None if next(calls, None) is not None else os._exit(137)


def die_after_a_digest(number):
    real, tick = Digests._append, count_down(number)

    def append(self, mark, name, text):
        real(self, mark, name, text)
        tick()

    Digests._append = append


def die_before_a_commit(number):
    real, tick = SqliteStorage.open, count_down(number)

    def opened(self, found):
        storage = real(self, found)
        sqlalchemy.event.listen(storage.engine, "commit", tick)
        return storage

    SqliteStorage.open = opened


def status(folder):
    return CliRunner().invoke(cli, ["status", str(folder)])


@pytest.mark.slow
@pytest.mark.parametrize("number", range(FIRST))
@pytest.mark.parametrize("die", [die_after_a_digest, die_before_a_commit], ids=lambda die: die.__name__)
def test_a_search_that_dies_at_one_of_its_first_writes_can_be_read_and_goes_on(tmp_path, die, number):
    asked = request(tmp_path, trials=1, confirm_seeds=1)

    def work():
        die(number)
        search(asked)

    assert in_fork(work) == 137
    result = status(asked.folder)
    assert result.exit_code == 0, result.output
    assert search(asked).fact("ended")


def test_status_answers_between_the_first_digest_and_its_commit(tmp_path, monkeypatch):
    asked, seen = request(tmp_path, trials=1, confirm_seeds=1), []
    real = Digests.coming

    def coming(self, name, text):
        real(self, name, text)
        seen.append((name, status(asked.folder)))

    monkeypatch.setattr(Digests, "coming", coming)
    search(asked)
    assert seen[0][0] == "fact schema"
    for name, result in seen:
        assert result.exit_code == 0, (name, result.output)


@pytest.mark.slow
@pytest.mark.parametrize("empty", [True, False])
def test_a_database_that_a_kill_left_empty_beside_a_first_digest_is_a_new_study(tmp_path, empty):
    asked = request(tmp_path, trials=1, confirm_seeds=1)
    with driver_lock(asked.folder):
        pass
    Digests(asked.folder).coming("fact schema", "1")
    if empty:
        database_path(asked.folder).touch()
    assert search(asked).fact("ended")


@pytest.mark.slow
def test_a_trial_whose_driver_died_between_its_record_and_its_state_counts_when_the_search_goes_on(tmp_path):
    asked = request(tmp_path, trials=2, confirm_seeds=1)

    def work():
        real = Study._finish
        Study._finish = lambda self, trial: real(self, trial) if trial.published else os._exit(137)
        search(asked)

    assert in_fork(work) == 137
    assert sum(trial.is_trained_candidate for trial in search(asked).trials()) == 2
