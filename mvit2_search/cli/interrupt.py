"""How a long command is stopped: what it says, how it goes on, and its exit code."""

from __future__ import annotations

import atexit
import os
import shlex
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from mvit2_search.cli.output import explain, give_up_broken_output, program, say
from mvit2_search.errors import MVit2SearchError
from mvit2_search.system.signals import STOPPED, TERMINATED, Interrupt, Terminated, ending_signals
from mvit2_search.system.text import printable

_SHOW_CURSOR = "\x1b[?25h"


def run_stoppable(work: Callable[[Interrupt], int], saved: str, on_request: str = "") -> NoReturn:
    """Call `work`, which returns an exit code, and end this process, also where it is told to end meanwhile.

    Args:
        saved: what is on the disk then, in a sentence.
        on_request: what the first Ctrl-C says; nothing if the work ends at once.
    """
    stopping = _Stopping(saved, on_request)
    with Interrupt(stopping.say_stopping, stopping.leave) as interrupt:  # before anything that is slow to import
        try:
            code = stopping.run(work, interrupt)
        except OSError:
            if interrupt.code is None:
                raise
            while give_up_broken_output():  # the terminal is gone, and nobody reads how to continue
                pass
            code = interrupt.code
    for number in ending_signals():  # nothing is left to stop while Python shuts down, which may take a second
        atexit.register(signal.signal, number, signal.SIG_IGN)
    sys.exit(code)


def interrupted(code: int, saved: str, what: str | None = None, *, err: bool = False) -> int:
    """Say how to continue, with `err` on stderr; the exit code."""
    say(*_closing(code, saved, what), err=err)
    return code


class _Stopping:
    def __init__(self, saved: str, on_request: str) -> None:
        self._saved, self._on_request = saved, on_request

    def run(self, work: Callable[[Interrupt], int], interrupt: Interrupt) -> int:
        try:
            code = work(interrupt)
            interrupt.check()
        except KeyboardInterrupt:
            return interrupted(STOPPED, self._saved)
        except Terminated:
            return interrupted(interrupt.code or TERMINATED, self._saved)
        except MVit2SearchError as err:
            if interrupt.code is None:
                raise
            explain(f"error: {err}", err=True)
            return interrupted(interrupt.code, self._saved)
        return code

    def say_stopping(self) -> None:
        """Ctrl-C came for the first time."""
        if sys.stderr is None or not self._on_request:  # closed before the start
            return
        with suppress(OSError, ValueError):  # nobody may be reading
            os.write(sys.stderr.fileno(), f"\n{self._on_request}\n".encode())  # whatever the main thread prints

    def leave(self, code: int) -> None:
        """End this process although something in it does not."""
        try:
            output = sys.stdout.fileno()
            text = "\n".join(map(printable, _closing(code, self._saved)))
            os.set_blocking(output, False)  # nobody may be reading
            os.write(output, f"{_SHOW_CURSOR if os.isatty(output) else ''}\n{text}\n".encode())
            os.set_blocking(output, True)
        finally:
            os._exit(code)


def _closing(code: int, saved: str, what: str | None = None) -> tuple[str, str]:
    what = what or ("Stopped." if code == STOPPED else "Terminated.")
    return f"{what} {saved} To continue:", f"    {program()} {shlex.join(sys.argv[1:])}"
