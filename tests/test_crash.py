"""Searches that are killed, at every commit and at random moments, and then resumed."""

import os
import random
import signal
import time

import pytest

from crash_driver import run_slowly, sweep
from fakes import request, search
from forks import exit_code, fork, in_fork
from mvit2_search.errors import MVit2SearchError
from mvit2_search.records import Failed
from mvit2_search.store import open_study

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("images"), pytest.mark.timeout(900)]


@pytest.fixture(autouse=True, scope="module")
def everything_imported(finished_results):
    """By a first search, so that the forked ones need not."""
    search(request(finished_results))


def test_a_search_that_dies_at_a_commit_resumes_to_its_end(tmp_path):
    assert sweep(tmp_path, 29) > 100


def test_a_search_that_is_killed_ten_times_resumes_to_its_end(tmp_path):
    rng = random.Random(0)
    finished = {}
    for _ in range(10):
        process = fork(lambda: run_slowly(tmp_path))
        wait_for_progress(tmp_path, process)
        time.sleep(rng.uniform(0, 0.3))
        os.kill(process, signal.SIGKILL)
        assert exit_code(process) == -signal.SIGKILL
        now = trials(tmp_path)
        assert all(now[number] == trial for number, trial in finished.items())
        finished = now
    assert len(finished) > 7
    assert in_fork(lambda: run_slowly(tmp_path)) == 0
    assert all(trials(tmp_path)[number] == trial for number, trial in finished.items())


def wait_for_progress(folder, process):
    """Until the search has finished another trial or another training of the confirmation, or ended."""
    before = progress(folder)
    while (
        progress(folder) <= before and os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    ):
        time.sleep(0.01)


def progress(folder):
    try:
        study = open_study(request(folder).folder)
        return sum(not isinstance(t.outcome, Failed) for t in study.trials()) + len(study.scores())
    except MVit2SearchError:
        return 0


def trials(folder):
    try:
        return {trial.number: trial for trial in open_study(request(folder).folder).trials()}
    except MVit2SearchError:
        return {}
