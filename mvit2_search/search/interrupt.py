"""Ctrl-C once: finish what runs, then stop. Twice, or a termination signal: stop now."""

import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self


class Terminated(BaseException):
    """The process was told to end (SIGTERM)."""


class Interrupt:
    """Within its `with` block, `requested` turns true at the first Ctrl-C.

    Args:
        on_request: called at the first Ctrl-C, from the signal handler.
    """

    def __init__(self, on_request: Callable[[], None] = lambda: None) -> None:
        self.requested = False
        self._on_request = on_request
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._previous = {
            signal.SIGINT: signal.signal(signal.SIGINT, self._interrupted),
            signal.SIGTERM: signal.signal(signal.SIGTERM, self._terminated),
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        self._on_request()

    def _terminated(self, number: int, frame: FrameType | None) -> None:
        raise Terminated
