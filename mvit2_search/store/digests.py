"""The digest of each record and fact, beside the database: a line before it is written and one after.

SQLite checks the form of its pages, not what is in them, and takes a database whose latest changes were deleted
for a whole one. After a crash the database may be ahead of this file by one write, and is never behind it.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from mvit2_search.errors import StorageError
from mvit2_search.system.files import write_atomically

_COMING, _WRITTEN, _LENGTH = "?", "!", 16
_LINE = re.compile(rf"([{_COMING}{_WRITTEN}]) (\w{{{_LENGTH}}}) (.*)")

Known = dict[str, tuple[bool, set[str]]]


class Digests:
    """The file `study.digests` in a study's folder. Records and facts have names for people, such as `trial 3`."""

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

    def known(self) -> Known:
        """For each name whether it was ever written, and the digests that it may have."""
        known: Known = {}
        for line in filter(None, self._lines()):
            mark, digest, name = line.groups()
            written, digests = known.get(name, (False, set()))
            known[name] = (True, {digest}) if mark == _WRITTEN else (written, digests | {digest})
        return known

    @property
    def is_damaged(self) -> bool:
        """Whether more is wrong than one line, which a crash cuts short: each start rewrites all."""
        lines = self._lines()
        broken = lines.count(None)
        return (self.path.exists() and not self.path.is_file()) or broken > min(1, len(lines) - broken)

    def differing(self, texts: Mapping[str, str], before: Known) -> tuple[list[str], list[str]]:
        """The names that are missing in what a database holds, and those that are other than was written.

        Args:
            before: what was known before the database was read: a driver may write meanwhile.
        """
        missing = [name for name, (written, _) in before.items() if written and name not in texts]
        now = self.known()
        changed = []
        for name in texts.keys() & (before.keys() | now.keys()):
            allowed = [known[name][1] for known in (before, now) if name in known]
            if _digest(texts[name]) not in set().union(*allowed):
                changed.append(name)
        return missing, sorted(changed)

    def _append(self, mark: str, name: str, text: str) -> None:
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(_line(mark, name, text))
        except OSError as err:
            raise StorageError(f"{self.path}: cannot write: {err.strerror}") from err

    def _lines(self) -> list[re.Match[str] | None]:
        """None for one that a crash or damage cut short: it vouches for nothing."""
        try:
            text = self.path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return []
        return [_LINE.fullmatch(line) for line in text.splitlines()]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]


def _line(mark: str, name: str, text: str) -> str:
    return f"{mark} {_digest(text)} {name}\n"
