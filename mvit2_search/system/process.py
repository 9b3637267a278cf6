"""This process: signals, its stderr, and the memory it may use.

A signal only sets a flag, which the program checks. A handler that raised might do so inside a callback of another
library, which would swallow the exception. A thread sets the flag: Python hands signals to it even while the main
thread is inside native code.
"""

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any, Self

_SYSTEM, _OWN, _GROUPS = Path("/proc/meminfo"), Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
# by version of control groups: the limit, the usage, and the part of it that is reclaimable (file cache)
_FILES = {
    "": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def free_bytes() -> int | None:
    """Memory that can be used without swapping: what the system has left, or a container's limit if that is less.

    If the system does not say what is left, all of its memory; None if it does not say that either.
    """
    return min([*_system_bytes(), *_group_bytes()], default=None)


def _system_bytes() -> list[int]:
    lines = _SYSTEM.read_text().splitlines() if _SYSTEM.exists() else []
    if available := [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]:
        return available
    return [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")] if hasattr(os, "sysconf") else []


def _group_bytes() -> list[int]:
    """What the limits of this process's control groups and of their parents leave."""
    try:
        lines = [line.split(":", 2) for line in _OWN.read_text().splitlines()]
    except OSError:  # not Linux
        return []
    own = [(kind, path.lstrip("/")) for _, kinds, path in lines for kind in kinds.split(",") if kind in _FILES]
    groups = [(kind, _GROUPS / kind / path) for kind, path in own]
    left = [_left_in(group, *_FILES[kind]) for kind, folder in groups for group in (folder, *folder.parents)]
    return [count for count in left if count is not None]


def _left_in(group: Path, limit: str, used: str, reclaimable: str) -> int | None:
    try:
        left = int((group / limit).read_text()) - int((group / used).read_text())
        counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such group, or "max": no limit
        return None
    return max(0, left + int(counts.get(reclaimable, 0)))


@contextmanager
def filtered_stderr(*harmless: str) -> Iterator[None]:
    """Hold back stderr inside the block; afterwards print the lines that contain none of `harmless`.

    This is the stderr of the whole process, so keep the block short.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            sys.stderr.writelines(line for line in held if not any(text in line for text in harmless))


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
