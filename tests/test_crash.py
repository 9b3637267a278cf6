"""Searches that are killed, at every commit and at random moments, and then resumed."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fakes import request
from mvit2_search.errors import MVit2SearchError
from mvit2_search.records import Failed
from mvit2_search.store import open_study

SCRIPT = Path(__file__).parent / "crash_driver.py"

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("images"), pytest.mark.timeout(900)]


def test_a_search_that_dies_at_a_commit_resumes_to_its_end(tmp_path):
    done = subprocess.run([sys.executable, SCRIPT, tmp_path, "sweep", "17"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[-2]) > 100


def test_a_search_that_is_killed_ten_times_resumes_to_its_end(tmp_path):
    rng = random.Random(0)
    finished = {}
    for _ in range(10):
        process = subprocess.Popen([sys.executable, SCRIPT, tmp_path, "run"], stdout=subprocess.DEVNULL)
        wait_for_progress(tmp_path, process)
        time.sleep(rng.uniform(0, 0.3))
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        now = trials(tmp_path)
        assert all(now[number] == trial for number, trial in finished.items())
        finished = now
    assert len(finished) > 7
    done = subprocess.run([sys.executable, SCRIPT, tmp_path, "run"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(trials(tmp_path)[number] == trial for number, trial in finished.items())


def wait_for_progress(folder, process):
    """Until the search has finished another trial or another training of the confirmation."""
    before = progress(folder)
    while progress(folder) <= before and process.poll() is None:
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
