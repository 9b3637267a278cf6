"""Names of files, in words."""

from collections.abc import Sequence
from pathlib import Path

_SHOWN = 5


def shown(names: Sequence[str]) -> str:
    """All of a few, the first of many."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return "; ".join(names[:_SHOWN]) + more


def names_below(root: Path, paths: Sequence[Path]) -> list[str]:
    """Where files lie in a data set."""
    return [path.relative_to(root).as_posix() for path in paths]
