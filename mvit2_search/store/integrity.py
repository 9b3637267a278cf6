"""Whether a study is what was written to it: digests, the backup, and what can be restored from which.

What was written to a study, kept beside its database: a line before each write and one after it.

SQLite checks the form of its pages, not what is in them, and takes a database whose latest changes were deleted
for a whole one. So each record and fact has a digest here. After a crash the database may be ahead of this file by
one write, and is never behind it.

Whether a study is what was written to it; what can be restored where it is not, and how.

A copy of a study's database beside it, for when that is damaged.
"""

import hashlib
import json
import os
import shlex
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from itertools import count
from pathlib import Path

from mvit2_search.errors import StorageError
from mvit2_search.records import SCHEMA
from mvit2_search.store.contents import Contents, fact_name, read_amount, read_sound
from mvit2_search.store.folders import backup_path, database_path
from mvit2_search.store.lease import find_holder
from mvit2_search.store.sqlite import beside, is_damage, reading
from mvit2_search.system.files import write_atomically
from mvit2_search.system.text import counted

_COMING, _WRITTEN = "?", "!"
_LENGTH = 16  # hex digits

Known = dict[str, tuple[bool, set[str]]]


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

    def known(self) -> Known:
        """For each name whether it was ever written, and the digests that it may have."""
        known: Known = {}
        for mark, digest, name in self._lines():
            written, digests = known.get(name, (False, set()))
            known[name] = (True, {digest}) if mark == _WRITTEN else (written, digests | {digest})
        return known

    @property
    def is_damaged(self) -> bool:
        """Whether the file is none of digests: a crash cuts one line short, and each start rewrites all."""
        if not self.path.exists():
            return False
        broken = len(self._texts()) - len(self._lines())
        return not self.path.is_file() or broken > min(1, len(self._lines()))

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

    def _lines(self) -> list[list[str]]:
        """Without one that a crash or damage cut short: it vouches for nothing."""
        lines = [line.split(" ", 2) for line in self._texts()]
        return [
            line for line in lines if len(line) == 3 and line[0] in (_COMING, _WRITTEN) and len(line[1]) == _LENGTH
        ]

    def _texts(self) -> list[str]:
        try:
            return self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return []


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]


def _line(mark: str, name: str, text: str) -> str:
    return f"{mark} {_digest(text)} {name}\n"


_DERIVED = ("study.yaml", "pareto.csv", "report.html", "control.csv")


def read_checked(folder: Path) -> Contents | None:
    """What the study in `folder` holds; None where nothing has been recorded yet.

    Raises:
        StorageError: it is no study, cannot be read, or is not what was written to it; with what can be done.
    """
    path = database_path(folder)
    if not path.exists() or (path.is_file() and not path.stat().st_size):
        if found := [*(file.name for file in beside(path)), *_traces(folder)]:
            what = "is empty" if path.exists() else "is missing"
            raise _damaged(folder, f"{what}, beside {', '.join(found)}")
        return None
    if not path.is_file():
        raise _damaged(folder, "is no file")
    known, backed_up = Digests(folder).known(), _backed_up(folder)  # first: a driver may write meanwhile
    try:
        contents = read_sound(path)
    except sqlite3.DatabaseError as err:
        if not is_damage(err):
            raise StorageError(f"{path}: cannot be read: {err}") from err
        raise _damaged(folder, _said(err)) from err
    except OSError as err:
        raise StorageError(f"{path}: cannot be read: {err.strerror}") from err
    if contents is None:
        if found := _traces(folder):
            raise _damaged(folder, f"holds no study, beside {', '.join(found)}")
        return None
    if (schema := contents.facts["schema"]) != str(SCHEMA):
        if not schema.isdecimal():
            raise unreadable(folder, fact_name("schema"))
        raise StorageError(f"{folder}: records of schema {schema}, this version reads {SCHEMA}")
    _compare(folder, contents, known, backed_up)
    return contents


def unreadable(folder: Path, name: str) -> StorageError:
    """A record or fact is no valid one."""
    return _damaged(folder, f"{name} is damaged")


def _compare(folder: Path, contents: Contents, known: Known, backed_up: tuple[int, int]) -> None:
    """With the digests, and with the backup, which never has more."""
    texts, digests = contents.texts(), Digests(folder)
    missing, changed = digests.differing(texts, known)
    left = f"to go on with the {_amount(contents)} that are left"
    as_it_is = f"to go on with the {_amount(contents)} in it as they are now, if study.digests is what is wrong"
    if digests.is_damaged:
        raise _damaged(folder, f"{digests.path.name} is damaged, by which it is checked", keep=as_it_is)
    if changed:
        readable = all(_is_json(texts[name]) for name in changed)
        raise _damaged(folder, f"{_listed(changed)} changed since written", keep=as_it_is if readable else None)
    if missing:
        raise _damaged(folder, f"{_listed(missing)} missing", keep=left)
    if backed_up > (contents.trials, contents.scores):
        raise _damaged(folder, f"holds {_amount(contents)}, fewer than the backup", keep=left)


def _damaged(folder: Path, why: str, *, keep: str | None = None) -> StorageError:
    """The refusal, with the commands that mend it.

    Args:
        keep: in words, to go on with what is in the database, where that may do.
    """
    backup = _backup(folder)
    remedies = []
    if backup is not None:
        remedies.append(
            f"{backup_path(folder).name} holds {_amount(backup)}; to go on from it: {_restore(folder)}"
        )
    if keep is not None:
        others = [file for file in (Digests(folder).path, backup_path(folder)) if file.exists()]
        remedies.append(f"{keep}: {_put_aside(folder, [_quoted(file) for file in others])}")
    if not remedies:
        remedies.append("there is no backup of it; nothing was changed: use another `study` name to start anew")
    holder = find_holder(folder) if folder.is_dir() else None
    if holder is not None and holder.pid != os.getpid():
        remedies.insert(0, f"stop {holder} first")
    return StorageError(f"{database_path(folder)}: {why}; {'; '.join(remedies)}")


def _restore(folder: Path) -> str:
    """Commands that keep the damaged files and put the backup in their place."""
    path, digests = database_path(folder), Digests(folder).path
    kept = any(file.exists() for file in (path, *beside(path)))
    files = [
        *([f"{_quoted(path)}*"] if kept else []),  # SQLite's own come and go with who has it open
        *([_quoted(digests)] if digests.exists() else []),
    ]
    return f"{_put_aside(folder, files)} && cp {_quoted(backup_path(folder), path)}"


def _put_aside(folder: Path, files: list[str]) -> str:
    """Commands that move files, which are quoted already."""
    names = (f"damaged-{i}" if i > 1 else "damaged" for i in count(1))
    aside = next(folder / name for name in names if not (folder / name).exists())
    move = f" && mv {' '.join(files)} {_quoted(aside)}" if files else ""
    return f"mkdir {_quoted(aside)}{move}"


def _backed_up(folder: Path) -> tuple[int, int]:
    """How many trials and scores the backup holds."""
    try:
        return read_amount(backup_path(folder))
    except (sqlite3.DatabaseError, OSError):
        return 0, 0


def _backup(folder: Path) -> Contents | None:
    """What the backup holds, if it is sound."""
    try:
        return read_sound(backup_path(folder)) if backup_path(folder).is_file() else None
    except (sqlite3.DatabaseError, StorageError, OSError):
        return None


def _traces(folder: Path) -> list[str]:
    """Files that only a study with records in it leaves beside its database.

    Digests are one only where something was written: a study that has just begun has the first of what is coming.
    """
    digests = Digests(folder)
    files = [backup_path(folder), *(folder / name for name in _DERIVED)]
    found = [digests.path] if any(written for written, _ in digests.known().values()) else []
    return [file.name for file in [*found, *files] if file.is_file()]


def _amount(contents: Contents) -> str:
    scores = f" and {counted(contents.scores, 'score')}" if contents.scores else ""
    return f"{counted(contents.trials, 'trial')}{scores}"


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _listed(names: list[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more} {'are' if len(names) > 1 else 'is'}"


def _said(err: sqlite3.DatabaseError) -> str:
    """What is wrong, without the text that it is about, which may be a whole record."""
    said = " ".join(str(err).split())
    return "a text in it is no UTF-8" if said.startswith("Could not decode to UTF-8") else said


def _quoted(*paths: Path) -> str:
    return " ".join(shlex.quote(str(path)) for path in paths)


def back_up(folder: Path) -> None:
    """Replace the backup by what the database holds now, all of it, once the copy is known to be sound.

    Only the driver may do it.

    Raises:
        StorageError: it cannot be written, or the database is damaged; the backup of before stays.
    """
    path = backup_path(folder)
    temporary = path.with_name(f".{path.name}.tmp")  # left by a killed driver, it is written over
    try:
        temporary.unlink(missing_ok=True)
        with reading(database_path(folder)) as source, closing(sqlite3.connect(temporary)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file
        contents, digests = read_sound(temporary), Digests(folder)
        if contents is None or any(digests.differing(contents.texts(), digests.known())):
            raise sqlite3.DatabaseError("the study is not what was written to it")
        temporary.replace(path)
    except (OSError, sqlite3.DatabaseError) as err:
        temporary.unlink(missing_ok=True)
        raise StorageError(f"{path}: no backup was made: {err}") from err
