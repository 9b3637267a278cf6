"""Counts and names of files, in words."""

from collections.abc import Sequence
from pathlib import Path

_SHOWN = 5


def shown(names: Sequence[str]) -> str:
    """All of a few, the first of many."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return "; ".join(names[:_SHOWN]) + more


def counted(count: int, what: str) -> str:
    """`1 link`, `3 links`."""
    return f"{count} {what}" + ("s" if count != 1 else "")


def names_below(root: Path, paths: Sequence[Path]) -> list[str]:
    """Where files lie in a data set."""
    return [path.relative_to(root).as_posix() for path in paths]
