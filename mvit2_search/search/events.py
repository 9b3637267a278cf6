"""What a search tells whoever watches it, and when it begins nothing more."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any, Self

from mvit2_search.arch import ArchConfig
from mvit2_search.errors import StorageError
from mvit2_search.execute.protocol import Running
from mvit2_search.records import Score, Trial
from mvit2_search.search.request import Request
from mvit2_search.store import Activity, Study, forget_activity, write_activity
from mvit2_search.system.signals import Interrupt
from mvit2_search.train.proxies import EpochScore


class Listener:
    """Hears of a search, and does nothing. The thread that searches calls every method, and waits for it."""

    def phase(self, name: str) -> None:
        """What the search does from now on, such as `loading images` or `confirming`."""

    def opened(self, study: Study, request: Request) -> None:
        """The study has its inputs and its budget; called once, before the first trial."""

    def note(self, text: str) -> None:
        """One thing the user should know."""

    def started(self, name: str, arch: ArchConfig) -> None:
        """A trial begins, or a training of the confirmation."""

    def working(self, text: str) -> None:
        """What is being done right now; comes often."""

    def trial_ended(self, study: Study, trial: Trial) -> None:
        """A trial has its outcome, and it is on disk."""

    def scored(self, study: Study, score: Score, name: str) -> None:
        """A training of the confirmation ended; `name` is that of the trial it confirms."""

    def told(self, text: str) -> None:
        """A line about one network of a check."""


def followed(running: Running, listener: Listener, interrupt: Interrupt) -> Iterator[EpochScore]:
    """The scores of a training as they come, each told to the listener. Stops it where the run has to end."""
    try:
        for score in running:
            interrupt.check()
            listener.working(f"training, epoch {score.epoch}: {score.score:.1f} %")
            yield score
        if running.result().ending == "failed":
            interrupt.check()  # a signal may have ended the training's own processes before this one
    finally:
        running.stop()


class Stop:
    """`requested` turns true at Ctrl-C and after so many hours from now on; a trial that runs then is finished."""

    def __init__(self, interrupt: Interrupt, hours: float | None = None) -> None:
        self._interrupt = interrupt
        self._end = None if hours is None else monotonic() + 3600 * hours

    @property
    def requested(self) -> bool:
        return self._interrupt.requested or (self._end is not None and monotonic() >= self._end)


BACKUP_EVERY = 10  # trials and scores


class Watch(Listener):
    """A listener that passes everything on, writes what the search is doing for `status`, and makes backups.

    Args:
        check: raises StorageError where `folder` is no longer the one that this search holds.
    """

    def __init__(self, folder: Path, listener: Listener, check: Callable[[], None]) -> None:
        self._folder, self._listener, self._check = folder, listener, check
        self._activity = Activity(pid=os.getpid(), phase="starting", subject=None, doing=None, since=_now())
        self._ended = 0  # trials and scores since the last backup

    def __enter__(self) -> Self:
        self._write()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(StorageError):  # the folder is another one now, whose file is not ours
            self._check()
            forget_activity(self._folder)

    def phase(self, name: str) -> None:
        self._write(phase=name, subject=None, doing=None, since=_now())
        self._listener.phase(name)

    def opened(self, study: Study, request: Request) -> None:
        self._listener.opened(study, request)

    def note(self, text: str) -> None:
        self._listener.note(text)

    def started(self, name: str, arch: ArchConfig) -> None:
        self._write(subject=name, doing="starting", since=_now())
        self._listener.started(name, arch)

    def working(self, text: str) -> None:
        self._write(doing=text)
        self._listener.working(text)

    def trial_ended(self, study: Study, trial: Trial) -> None:
        self._listener.trial_ended(study, trial)
        self._count(study)

    def scored(self, study: Study, score: Score, name: str) -> None:
        self._listener.scored(study, score, name)
        self._count(study)

    def back_up(self, study: Study) -> None:
        """Bring the backup up to date; where that fails, a note says so and the search goes on."""
        self._check()
        self._ended = 0
        try:
            study.back_up()
        except StorageError as err:
            self.note(str(err))

    def _count(self, study: Study) -> None:
        self._ended += 1
        if self._ended >= BACKUP_EVERY:
            self.back_up(study)

    def _write(self, **changes: Any) -> None:
        self._check()
        self._activity = replace(self._activity, **changes)
        write_activity(self._folder, self._activity)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
