"""When a run begins nothing more: Ctrl-C came, or its hours are over."""

from time import monotonic

from mvit2_search.interrupt import Interrupt


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
