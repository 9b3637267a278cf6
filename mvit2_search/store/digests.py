"""What was written to a study, kept beside its database: a line before each write and one after it.

SQLite checks the form of its pages, not what is in them, and takes a database whose latest changes were deleted
for a whole one. So each record and fact has a digest here. After a crash the database may be ahead of this file by
one write, and is never behind it.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from mvit2_search.errors import StorageError
from mvit2_search.files import write_atomically

_COMING, _WRITTEN = "?", "!"


class Digests:
    """The digests in a study's folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "study.digests"

    def coming(self, name: str, text: str) -> None:
        """`name` will be written."""
        self._append(_COMING, name, text)

    def written(self, name: str, text: str) -> None:
        """`name` is in the database."""
        self._append(_WRITTEN, name, text)

    def rewrite(self, texts: Mapping[str, str]) -> None:
        """These are what the database holds."""
        write_atomically(self.path, "".join(_line(_WRITTEN, name, text) for name, text in texts.items()))

    def differing(self, texts: Mapping[str, str]) -> tuple[list[str], list[str]]:
        """The names that are missing in what a database holds, and those that are other than was written."""
        known = self._known()
        missing = [name for name, (written, _) in known.items() if written and name not in texts]
        changed = [
            name for name, (_, digests) in known.items() if name in texts and _digest(texts[name]) not in digests
        ]
        return missing, changed

    def _append(self, mark: str, name: str, text: str) -> None:
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(_line(mark, name, text))
        except OSError as err:
            raise StorageError(f"{self.path}: cannot write: {err.strerror}") from err

    def _known(self) -> dict[str, tuple[bool, set[str]]]:
        """For each name whether it was ever written, and the digests that it may have."""
        known: dict[str, tuple[bool, set[str]]] = {}
        for line in self._lines():
            mark, digest, name = line
            written, digests = known.get(name, (False, set()))
            known[name] = (True, {digest}) if mark == _WRITTEN else (written, digests | {digest})
        return known

    def _lines(self) -> list[list[str]]:
        """Without one that a crash or damage cut short: it vouches for nothing."""
        try:
            text = self.path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return []
        lines = [line.split(" ", 2) for line in text.splitlines()]
        return [
            line for line in lines if len(line) == 3 and line[0] in (_COMING, _WRITTEN) and len(line[1]) == _LENGTH
        ]


_LENGTH = 16


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]


def _line(mark: str, name: str, text: str) -> str:
    return f"{mark} {_digest(text)} {name}\n"
