"""Fake searches in forked processes, which die at a chosen write or are slow: helper of test_crash.py."""

import os
import shutil
import time
from pathlib import Path

import sqlalchemy

from fakes import FormulaProxy, request, search
from forks import in_fork
from mvit2_search.records import Finished
from mvit2_search.search.driver import is_finished
from mvit2_search.store import open_study
from mvit2_search.store.storage import SqliteStorage


class SlowProxy(FormulaProxy):
    """Takes a tenth of a second for each epoch."""

    def run(self, *args, **kwargs):
        for score in super().run(*args, **kwargs):
            time.sleep(0.1)
            yield score


def dying_at(commit: int, asked) -> None:
    """Search, and leave without a word just before the given commit."""
    left = commit

    def on_commit(connection):
        nonlocal left
        left -= 1
        if left < 0:
            os._exit(137)

    real = SqliteStorage.open

    def opened(self, found):
        storage = real(self, found)
        sqlalchemy.event.listen(storage.engine, "commit", on_commit)
        return storage

    SqliteStorage.open = opened
    search(asked)


def problems(folder: Path, before: dict[int, object]) -> list[str]:
    """What is wrong with a study that was resumed to its end; `before` holds what was finished."""
    study = open_study(folder)
    trials = {t.number: t for t in study.trials()}
    numbers = [*trials, *study.lost_numbers()]
    trained = [
        t for t in trials.values() if isinstance(t.outcome, Finished) and not t.published and t.repeats is None
    ]
    found = []
    if sorted(numbers) != list(range(len(numbers))):
        found.append(f"numbers {sorted(numbers)}")
    if any(trials.get(number) != trial for number, trial in before.items()):
        found.append("a trial that had its outcome changed or went away")
    if len(trained) != 4 or len({t.arch.key for t in trained}) != 4:
        found.append(f"{len(trained)} candidates")
    if any(not row.is_closed for row in study._rows()):
        found.append("a trial is open")
    if len({t.published for t in trials.values() if t.published and isinstance(t.outcome, Finished)}) != 3:
        found.append("published widths are missing")
    if len(study.scores()) != len({(s.subject, s.seed) for s in study.scores()}) or not study.fact("ended"):
        found.append("the confirmation is not complete")
    return found


def sweep(folder: Path, stride: int) -> int:
    """Die at every `stride`-th commit, again soon after, then resume; the number of commits."""
    died, point = True, 0
    while died:
        asked = request(folder / str(point), data=str(folder / "images"))
        died = in_fork(lambda: dying_at(point, asked)) == 137  # noqa: B023
        in_fork(lambda: dying_at(20 + point % 60, asked))  # noqa: B023  # once more, while it recovers or soon after
        assert in_fork(lambda: check_after_resume(asked)) == 0, f"wrong after dying at commit {point}"  # noqa: B023
        shutil.rmtree(asked.results)
        point += stride
    return point


def check_after_resume(asked) -> None:
    finished = {}
    if (asked.folder / "study.db").exists():
        try:
            finished = {t.number: t for t in open_study(asked.folder).trials()}
        except Exception as err:  # it died while the tables were made
            print(f"not yet a study: {type(err).__name__}")
    search(asked)
    if found := problems(asked.folder, finished):
        raise AssertionError("; ".join(found))


def run_slowly(folder: Path) -> None:
    """A search to its end, to be killed from outside."""
    asked = request(folder, trials=4)
    search(asked, proxy=SlowProxy())
    assert is_finished(open_study(asked.folder), asked)
    if found := problems(asked.folder, {}):
        raise AssertionError("; ".join(found))
