"""From settings as a user writes them to checked values and channel counts, rounded as ml-cvnets does."""

import operator
from collections.abc import Sequence
from typing import Any, cast

from mvit2_search.errors import SpecError


def round_channels(value: float, divisor: int, lowest: int | None = None) -> int:
    """The nearest multiple of `divisor` that is at most a tenth below `value`."""
    rounded = max(lowest or divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def expanded_channels(
    stem: int, channels: Sequence[int], counts: Sequence[int], ratios: Sequence[float]
) -> tuple[tuple[int, ...], ...]:
    """Inner widths of the inverted residuals, by stage.

    Args:
        channels: outputs of each stage.
        counts: inverted residuals of each stage.
        ratios: inner width over input, for each stage.
    """
    rows = []
    for before, own, count, ratio in zip([stem, *channels], channels, counts, ratios, strict=False):
        inputs = [before] + [own] * (whole("inverted_residuals", count) - 1)
        rows.append(tuple(round_channels(round(ratio * c), 8) for c in inputs))
    return tuple(rows)


def per_stage(name: str, value: Any, length: int) -> tuple[Any, ...]:
    """`value` as a tuple of `length`: a sequence as it is, a single value repeated."""
    values = tuple(value) if _is_sequence(value) else (value,) * length
    if len(values) != length:
        raise SpecError(f"{name}: expected one value or {length}, one per stage, found {len(values)}")
    return values


def sequence(name: str, value: Any) -> Sequence[Any]:
    """`value`, or SpecError where it is no list or tuple."""
    if not _is_sequence(value):
        raise SpecError(f"{name}: expected a list, found {value!r}")
    return cast(Sequence[Any], value)


def whole(name: str, value: Any) -> int:
    """`value` as an `int`, NumPy's included; SpecError where it is no whole number."""
    if type(value) is int:
        return value
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise SpecError(f"{name}: expected a whole number, found {value!r}") from None


def _is_sequence(value: Any) -> bool:
    """Tests for lists and tuples first: a proposal calls this thousands of times, and `Sequence` is slow."""
    return type(value) in (tuple, list) or (isinstance(value, Sequence) and not isinstance(value, str))
