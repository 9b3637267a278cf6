"""Ctrl-C once: finish what runs, then stop. Twice, or SIGTERM, or a closed terminal (SIGHUP): stop now.

A signal sets a flag that is looked at. Nothing is raised in a signal handler: it may run inside a callback of
another library, which then swallows the exception. The flag is set by a thread of its own, to which Python hands
signals even while the main thread is held up in foreign code.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Event, Thread
from types import TracebackType
from typing import Any, Self

HUNG_UP, STOPPED, TERMINATED = 129, 130, 143  # exit codes
_ENDING = {"SIGHUP": HUNG_UP, "SIGTERM": TERMINATED}
_GRACE_S = {HUNG_UP: 10.0, STOPPED: 3.0, TERMINATED: 10.0}  # everything on disk survives an end at any moment


class Terminated(BaseException):
    """The process was told to end (SIGTERM, SIGHUP)."""


class Interrupt:
    """Within its `with` block, `requested` turns true at the first Ctrl-C, and `check` raises after the second.

    Args:
        on_request: called at the first Ctrl-C, from another thread.
        leave: called with an exit code, from another thread, where the block has not ended some seconds after it
            was told to; is to end the process.
    """

    def __init__(
        self, on_request: Callable[[], None] = lambda: None, leave: Callable[[int], None] = lambda code: None
    ) -> None:
        self.requested = False
        self.code: int | None = None  # to leave with now
        self._on_request, self._leave = on_request, leave
        self._ended = Event()
        self._previous: dict[int, Any] = {}

    def check(self) -> None:
        """Raise where the run has to end now.

        Raises:
            Terminated: SIGTERM or SIGHUP has come.
            KeyboardInterrupt: Ctrl-C has come for the second time.
        """
        if self.code == STOPPED:
            raise KeyboardInterrupt
        if self.code is not None:
            raise Terminated

    def __enter__(self) -> Self:
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        self._writing = writing
        self._previous_fd = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        self._watcher = Thread(target=self._watch, args=(reading,), daemon=True)
        self._watcher.start()
        self._previous = {number: signal.signal(number, _nothing) for number in ending_signals()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous_fd)
        self._ended.set()
        os.close(self._writing)
        self._watcher.join()  # what had come by now is known from here on

    def _watch(self, reading: int) -> None:
        with open(reading, "rb", buffering=0) as signals:
            while number := signals.read(1):
                self._arrived(number[0])

    def _arrived(self, number: int) -> None:
        if (name := signal.Signals(number).name) in _ENDING:
            self._end(_ENDING[name])
        elif number == signal.SIGINT and self.requested:
            self._end(STOPPED)
        elif number == signal.SIGINT:
            self.requested = True
            with suppress(Exception):  # the next signal is to be seen, whatever the callback meets
                self._on_request()

    def _end(self, code: int) -> None:
        self.requested = True
        if self.code is None or code > self.code:
            self.code = code
            Thread(target=self._leave_late, args=(code,), daemon=True).start()

    def _leave_late(self, code: int) -> None:
        if not self._ended.wait(_GRACE_S[code]):
            self._leave(code)


def ending_signals() -> Iterator[int]:
    """What ends a run on this system, but for what `nohup` has told to let pass."""
    yield from (signal.SIGINT, signal.SIGTERM)
    hang_up = getattr(signal, "SIGHUP", None)  # Windows has none
    if hang_up is not None and signal.getsignal(hang_up) is not signal.SIG_IGN:
        yield hang_up


def _nothing(number: int, frame: object) -> None:
    """Python's own part of a handler, in the main thread."""
