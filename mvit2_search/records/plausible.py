"""What can be an accuracy or a latency at all. Nothing else is recorded, or read from a record as a result."""

import math
from numbers import Real

from mvit2_search.records.latency import Latency

_LEAST_MS, _MOST_MS = 1e-4, 1e6  # a tenth of a microsecond; a quarter of an hour


def accuracy_fault(value: object) -> str | None:
    """What is wrong with `value` as an accuracy in percent."""
    if (number := _number(value)) is None:
        return f"an accuracy of {_shown(value)} is no number"
    if not 0 <= number <= 100:
        return f"an accuracy of {_shown(value)} %: expected from 0 to 100"
    return None


def time_fault(ms: object) -> str | None:
    """What is wrong with `ms` as the time that a network takes."""
    value = _number(ms)
    if value is None or not _LEAST_MS <= value <= _MOST_MS:
        return f"a latency of {_shown(ms)} ms: expected from {_LEAST_MS:g} to {_MOST_MS:,.0f}"
    return None


def latency_fault(latency: Latency) -> str | None:
    """What is wrong with a latency and its interval."""
    if fault := time_fault(latency.latency_ms):
        return fault
    low, value, high = (_number(ms) for ms in (latency.low_ms, latency.latency_ms, latency.high_ms))
    if low is None or value is None or high is None or not -math.inf < low <= value <= high < math.inf:
        interval = f"[{_shown(latency.low_ms)}, {_shown(latency.high_ms)}]"
        return f"a latency of {value:g} ms is not within its own interval, {interval}"
    return None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _shown(value: object) -> str:
    return repr(value)[:80]
