"""Rows of the comparison in a file that only grows: a run that was killed goes on where it was."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from mvit2_search.errors import StorageError

Key = tuple[str, str, int, int, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchRow:
    """What one sampler found on one problem with one seed.

    Attributes:
        by: package and version that made the proposals.
        gap_pct: what is missing of the true front's hypervolume, by evaluations.
        duplicates_pct: of the evaluations, those of settings that had been evaluated.
        sampler_s: processor time per evaluation that the sampler took.
    """

    problem: str
    peer: str
    seed: int
    evaluations: int
    by: str
    gap_pct: dict[int, float]
    duplicates_pct: float
    sampler_s: float

    @property
    def key(self) -> Key:
        """What is not computed twice."""
        return (self.problem, self.peer, self.seed, self.evaluations, self.by)

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Self:
        return cls(**row | {"gap_pct": {int(n): float(gap) for n, gap in row["gap_pct"].items()}})


def read_rows(path: Path) -> dict[Key, SearchRow]:
    """All whole rows; none where there is no file. A line that was cut off is no row.

    Raises:
        StorageError: the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    except OSError as err:
        raise StorageError(f"{path}: cannot read: {err.strerror}") from err
    rows = [row for line in lines if (row := _whole(line)) is not None]
    return {row.key: row for row in rows}


def append_rows(path: Path, rows: Iterable[SearchRow]) -> None:
    """Write each row when it comes, on a line of its own also after one that was cut off.

    Raises:
        StorageError: the disk is full or the file cannot be written.
    """
    for row in rows:
        line = json.dumps(asdict(row), separators=(",", ":")).encode() + b"\n"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab+") as stream:
                if stream.tell() and not _ends_a_line(stream):
                    line = b"\n" + line
                stream.write(line)
        except OSError as err:
            raise StorageError(f"{path}: cannot write: {err.strerror}") from err


def _ends_a_line(stream: Any) -> bool:
    stream.seek(-1, 2)
    return bool(stream.read(1) == b"\n")


def _whole(line: str) -> SearchRow | None:
    try:
        return SearchRow.from_json(json.loads(line))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
