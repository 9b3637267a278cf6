"""What a search tells whoever watches it, and when it begins nothing more.

What a search tells whoever watches it.

When a run begins nothing more: Ctrl-C came, or its hours are over.

What a driver keeps up to date besides the trials: what it is doing, for `status`, and a backup.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Protocol, Self

from mvit2_search.arch import ArchConfig
from mvit2_search.errors import StorageError
from mvit2_search.records import Score, Trial
from mvit2_search.search.request import Request
from mvit2_search.store import Activity, Study, forget_activity, write_activity
from mvit2_search.system.signals import Interrupt


class Listener(Protocol):
    """Every method is called from the thread that searches and may take its time."""

    def phase(self, name: str) -> None:
        """What the search does from now on, such as `loading images` or `confirming`."""

    def opened(self, study: Study, request: Request) -> None:
        """The study holds its inputs and its budget; called once, before the first trial."""

    def note(self, text: str) -> None:
        """One thing the user should know."""

    def started(self, name: str, arch: ArchConfig) -> None:
        """An architecture's turn: a trial, or a finalist of the confirmation."""

    def working(self, text: str) -> None:
        """What is being done right now; comes often."""

    def trial_ended(self, study: Study, trial: Trial) -> None:
        """A trial has its outcome, and it is on disk."""

    def scored(self, study: Study, score: Score, name: str) -> None:
        """A training of the confirmation ended; `name` is for people."""


class Silent:
    """A listener that does nothing."""

    def phase(self, name: str) -> None: ...

    def opened(self, study: Study, request: Request) -> None: ...

    def note(self, text: str) -> None: ...

    def started(self, name: str, arch: ArchConfig) -> None: ...

    def working(self, text: str) -> None: ...

    def trial_ended(self, study: Study, trial: Trial) -> None: ...

    def scored(self, study: Study, score: Score, name: str) -> None: ...


class Stop:
    """`requested` turns true at Ctrl-C and after so many hours; what runs then is finished.

    Args:
        hours: from now on; None for no end.
    """

    def __init__(self, interrupt: Interrupt, hours: float | None = None) -> None:
        self._interrupt = interrupt
        self._end = None if hours is None else monotonic() + 3600 * hours

    @property
    def requested(self) -> bool:
        return self._interrupt.requested or (self._end is not None and monotonic() >= self._end)


BACKUP_EVERY = 10  # trials and scores


class Watch:
    """Passes on what a search tells, and writes down what it is doing until its `with` block ends.

    Args:
        check: raises StorageError where `folder` is no longer the one that the driver holds.
    """

    def __init__(self, folder: Path, listener: Listener, check: Callable[[], None]) -> None:
        self._folder, self._listener, self._check = folder, listener, check
        self._phase, self._since = "starting", _now()
        self._subject: str | None = None
        self._ended = 0  # trials and scores since the last backup

    def __enter__(self) -> Self:
        self._write(None)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(StorageError):  # of another folder, what is there is somebody else's
            self._check()
            forget_activity(self._folder)

    def phase(self, name: str) -> None:
        self._phase, self._subject, self._since = name, None, _now()
        self._write(None)
        self._listener.phase(name)

    def opened(self, study: Study, request: Request) -> None:
        self._listener.opened(study, request)

    def note(self, text: str) -> None:
        self._listener.note(text)

    def started(self, name: str, arch: ArchConfig) -> None:
        self._subject, self._since = name, _now()
        self._write("starting")
        self._listener.started(name, arch)

    def working(self, text: str) -> None:
        self._write(text)
        self._listener.working(text)

    def trial_ended(self, study: Study, trial: Trial) -> None:
        self._listener.trial_ended(study, trial)
        self._count(study)

    def scored(self, study: Study, score: Score, name: str) -> None:
        self._listener.scored(study, score, name)
        self._count(study)

    def _count(self, study: Study) -> None:
        self._ended += 1
        if self._ended >= BACKUP_EVERY:
            self.back_up(study)

    def back_up(self, study: Study) -> None:
        """Also at the start and at the end; what keeps it from being made is noted."""
        self._check()
        self._ended = 0
        try:
            study.back_up()
        except StorageError as err:  # the study itself is as good as before
            self.note(str(err))

    def _write(self, doing: str | None) -> None:
        self._check()
        activity = Activity(
            pid=os.getpid(), phase=self._phase, subject=self._subject, doing=doing, since=self._since
        )
        write_activity(self._folder, activity)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
