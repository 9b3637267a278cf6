"""One timing at a time on this computer.

Every device that there is so far runs on it, and any two of them disturb each other: they share one lock, across
studies, commands, folders of results and users. A device elsewhere would have one of its own.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir

from mvit2_search.locks import Holder, locked

Tell = Callable[[str], None]


def lock_path() -> Path:
    """In the temporary folder that all users share, whatever TMPDIR says; in the own one where that is closed."""
    shared = Path("/tmp")
    return (shared if os.access(shared, os.W_OK) else Path(gettempdir())) / "mvit2-search-timing.lock"


class Queue:
    """Where a process waits until it may time.

    Args:
        tell: told whom it waits for, once for each.
        pause: waits for so many seconds; what it raises ends the waiting.
    """

    def __init__(self, tell: Tell, pause: Callable[[float], None]) -> None:
        self._tell, self._pause = tell, pause
        self._told: set[int | None] = set()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Nobody else times anything on this computer meanwhile."""
        with locked(lock_path(), waits=self._waits, pause=self._pause):
            yield

    def _waits(self, holder: Holder | None) -> None:
        pid = None if holder is None else holder.pid
        if pid not in self._told:
            self._told.add(pid)
            self._tell(f"waiting for {holder or 'another process'}, which times a network on this computer")
