"""Ctrl-C once: finish what runs, then stop. Twice, or SIGTERM, or a closed terminal (SIGHUP): stop now.

A signal only sets a flag, which the program checks. A handler that raised might do so inside a callback of another
library, which would swallow the exception. A thread sets the flag: Python hands signals to it even while the main
thread is inside native code.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Event, Thread
from typing import Any, Self

HUNG_UP, STOPPED, TERMINATED = 129, 130, 143  # exit codes
_EXIT_CODES = {"SIGHUP": HUNG_UP, "SIGTERM": TERMINATED}
_GRACE_S = {HUNG_UP: 10.0, STOPPED: 3.0, TERMINATED: 10.0}  # before `leave`, which no file on disk suffers from


class Terminated(BaseException):
    """The process was told to end (SIGTERM, SIGHUP)."""


class Interrupt:
    """Inside its `with` block, `requested` turns true at the first Ctrl-C, and `check` raises after the second.

    Args:
        on_request: called at the first Ctrl-C, from another thread.
        leave: ends the process. Called with an exit code, from another thread, if the block is still running some
            seconds after it was told to end.

    Attributes:
        code: exit code, once the process has to end now.
    """

    def __init__(
        self, on_request: Callable[[], None] = lambda: None, leave: Callable[[int], None] = lambda code: None
    ) -> None:
        self.requested = False
        self.code: int | None = None
        self._on_request, self._leave = on_request, leave
        self._ended = Event()
        self._previous: dict[int, Any] = {}

    def check(self) -> None:
        """Raise Terminated after SIGTERM or SIGHUP, and KeyboardInterrupt after the second Ctrl-C."""
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
        self._previous = {number: signal.signal(number, lambda *_: None) for number in ending_signals()}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous_fd)
        self._ended.set()
        os.close(self._writing)
        self._watcher.join()  # it handles the signals that have arrived so far

    def _watch(self, reading: int) -> None:
        with open(reading, "rb", buffering=0) as signals:
            while number := signals.read(1):
                self._handle(number[0])

    def _handle(self, number: int) -> None:
        if (name := signal.Signals(number).name) in _EXIT_CODES:
            self._end(_EXIT_CODES[name])
        elif number == signal.SIGINT and self.requested:
            self._end(STOPPED)
        elif number == signal.SIGINT:
            self.requested = True
            with suppress(Exception):  # a failing callback must not hide the next signal
                self._on_request()

    def _end(self, code: int) -> None:
        self.requested = True
        if self.code is None or code > self.code:
            self.code = code
            Thread(target=self._leave_after_grace, args=(code,), daemon=True).start()

    def _leave_after_grace(self, code: int) -> None:
        if not self._ended.wait(_GRACE_S[code]):
            self._leave(code)


def ending_signals() -> Iterator[int]:
    """The signals that end a run on this system; without SIGHUP if it is ignored, as under `nohup`."""
    yield from (signal.SIGINT, signal.SIGTERM)
    hang_up = getattr(signal, "SIGHUP", None)  # Windows has none
    if hang_up is not None and signal.getsignal(hang_up) is not signal.SIG_IGN:
        yield hang_up
