"""Searches that are killed, and what a command does with a damaged study."""

import os
import re
import shutil
import subprocess

from commands import invoke
from fakes import request, search
from forks import in_fork
from mvit2_search.search.events import Listener
from mvit2_search.store import open_study

READERS = ("status", "report", "export")


class DiesAfter(Listener):
    def __init__(self, trials):
        self.left = trials

    def trial_ended(self, study, trial):
        self.left -= 1
        if self.left == 0:
            os._exit(137)


def killed_search(asked, trials):
    """A search in a process of its own that is killed after so many trials."""
    assert in_fork(lambda: search(asked, listener=DiesAfter(trials))) == 137


def contents(folder):
    """What is in a study's folder, but for what says who runs it."""
    passing = ("driver.lock", "progress.json", "study.db-shm", "study.db-wal")
    return {
        path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name not in passing
    }


def refusal(folder, resume):
    """The one line with which `run` and every command that reads refuse, having changed nothing of the study."""
    before = contents(folder)
    results = [resume(), *(invoke(command, folder) for command in READERS)]
    for result in results:
        assert (result.exit_code, result.stderr.count("\n")) == (4, 1), result.output
        assert not isinstance(result.exception, Exception) or isinstance(result.exception, SystemExit)
    assert contents(folder) == before
    assert len({result.stderr for result in results}) == 1
    return results[0].stderr


def carry_out(line, which="to go on from it"):
    """The commands that a refusal names."""
    (command,) = re.findall(rf"{which}: ([^;\n]*)", line)
    subprocess.run(command.strip(), shell=True, check=True)


def records(folder):
    return {trial.number: trial for trial in open_study(folder).trials()}


def a_finished_study(tmp_path, finished_results):
    """The folder of a copy in `tmp_path`."""
    if not (finished_results / "results").exists():
        search(request(finished_results))
    shutil.copytree(finished_results / "results", tmp_path / "results")
    return request(tmp_path).folder
