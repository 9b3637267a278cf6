"""Whether a study's file holds what was written to it; where not, a refusal with the commands that restore it."""

import hashlib
import json
import os
import re
import shlex
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from mvit2_search.errors import StorageError
from mvit2_search.store.folders import backup_path, database_path
from mvit2_search.store.lease import find_holder
from mvit2_search.store.sqlite import Contents, Damage, is_damage, logs_of, read_sound, snapshot
from mvit2_search.system.files import write_atomically
from mvit2_search.system.text import counted

_COMING, _WRITTEN, _LENGTH = "?", "!", 16
_LINE = re.compile(rf"([{_COMING}{_WRITTEN}]) (\w{{{_LENGTH}}}) (.*)")

Known = dict[str, tuple[bool, set[str]]]


class Digests:
    """The file `study.digests` beside the database: a line before each record or fact is written, one after.

    SQLite checks the form of its pages, not what is in them, and takes a database whose latest changes were
    deleted for a whole one. After a crash the database may be ahead of this file by one write, and is never
    behind it. Records and facts have names for people, such as `trial 3`.
    """

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

        `before` was known before the database was read: a driver may write meanwhile.
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


_DERIVED = ("study.yaml", "pareto.csv", "report.html", "control.csv")
_NOT_READ = (sqlite3.DatabaseError, Damage, StorageError, OSError)


def read_checked(folder: Path) -> Contents | None:
    """What the study in `folder` holds; None where nothing has been recorded yet.

    Raises StorageError if it is no study, cannot be read, or is not what was written to it.
    """
    path = database_path(folder)
    if not path.exists() or (path.is_file() and not path.stat().st_size):
        logs = [file.name for file in logs_of(path)]
        _refuse_beside(folder, "is empty" if path.exists() else "is missing", [*logs, *_traces(folder)])
        return None
    if not path.is_file():
        raise damaged(folder, "is no file")
    known, backed_up = Digests(folder).known(), _backed_up(folder)  # first: a driver may write meanwhile
    with refusing(folder):
        contents = read_sound(path)
    if contents is None:
        _refuse_beside(folder, "holds no study", _traces(folder))
    else:
        _compare(folder, contents, known, backed_up)
    return contents


@contextmanager
def refusing(folder: Path) -> Iterator[None]:
    """Turns what reading the database raises into StorageError."""
    path = database_path(folder)
    try:
        yield
    except Damage as err:
        raise damaged(folder, str(err)) from err
    except sqlite3.DatabaseError as err:
        said = " ".join(str(err).split())
        if not is_damage(err):
            raise StorageError(f"{path}: cannot be read: {said}") from err
        if said.startswith("Could not decode to UTF-8"):  # what follows may be a whole record
            said = "a text in it is no UTF-8"
        raise damaged(folder, said) from err
    except OSError as err:
        raise StorageError(f"{path}: cannot be read: {err.strerror}") from err


def damaged(folder: Path, why: str, *, keep: str | None = None) -> StorageError:
    """The refusal, with the commands that mend it; `keep` says in words what may be gone on with as it is."""
    remedies = []
    holder = find_holder(folder) if folder.is_dir() else None
    if holder is not None and holder.pid != os.getpid():
        remedies.append(f"stop {holder} first")
    path, backup, contents = database_path(folder), backup_path(folder), _backup(folder)
    if contents is not None:
        remedies.append(f"{backup.name} holds {_counted(contents.amount)}; to go on from it: {_restore(folder)}")
    if keep is not None:
        files = [_quoted(file) for file in (Digests(folder).path, backup) if file.exists()]
        remedies.append(f"{keep}: {_put_aside(folder, files)}")
    if contents is None and keep is None:
        remedies.append("there is no backup of it; nothing was changed: use another `study` name to start anew")
    return StorageError(f"{path}: {why}; {'; '.join(remedies)}")


def _refuse_beside(folder: Path, what: str, files: Sequence[str]) -> None:
    """Raises StorageError for a database without a study beside files that only a study leaves."""
    if files:
        raise damaged(folder, f"{what}, beside {', '.join(files)}")


def _compare(folder: Path, contents: Contents, known: Known, backed_up: tuple[int, int]) -> None:
    """With the digests, and with the backup, which never has more."""
    texts, digests, amount = contents.texts(), Digests(folder), _counted(contents.amount)
    missing, changed = digests.differing(texts, known)
    left = f"to go on with the {amount} that are left"
    as_it_is = f"to go on with the {amount} in it as they are now, if study.digests is what is wrong"
    if digests.is_damaged:
        raise damaged(folder, f"{digests.path.name} is damaged, by which it is checked", keep=as_it_is)
    if changed:
        readable = all(_is_json(texts[name]) for name in changed)
        raise damaged(folder, f"{_listed(changed)} changed since written", keep=as_it_is if readable else None)
    if missing:
        raise damaged(folder, f"{_listed(missing)} missing", keep=left)
    if backed_up > contents.amount:
        raise damaged(folder, f"holds {amount}, fewer than the backup", keep=left)


def _restore(folder: Path) -> str:
    """Commands that keep the damaged files and put the backup in their place."""
    path, digests = database_path(folder), Digests(folder).path
    files = [f"{_quoted(path)}*"] if path.exists() or logs_of(path) else []  # SQLite's own come and go
    files += [_quoted(digests)] if digests.exists() else []
    return f"{_put_aside(folder, files)} && cp {_quoted(backup_path(folder))} {_quoted(path)}"


def _put_aside(folder: Path, quoted_files: Sequence[str]) -> str:
    """Commands that move files to a new folder."""
    names = (f"damaged-{i}" if i > 1 else "damaged" for i in count(1))
    aside = _quoted(next(folder / name for name in names if not (folder / name).exists()))
    files = " ".join(quoted_files)
    return f"mkdir {aside} && mv {files} {aside}" if files else f"mkdir {aside}"


def _backed_up(folder: Path) -> tuple[int, int]:
    """How many trials and scores the backup holds."""
    try:
        with snapshot(backup_path(folder)) as backup:
            return backup.amount()
    except _NOT_READ:
        return 0, 0


def _backup(folder: Path) -> Contents | None:
    """What the backup holds, if it is sound."""
    try:
        return read_sound(backup_path(folder)) if backup_path(folder).is_file() else None
    except _NOT_READ:
        return None


def _traces(folder: Path) -> list[str]:
    """Files that only a study with records in it leaves beside its database.

    Digests are one only where something was written: a study that has just begun has the first of what is coming.
    """
    digests = Digests(folder)
    found = [digests.path] if any(written for written, _ in digests.known().values()) else []
    found += [backup_path(folder), *(folder / name for name in _DERIVED)]
    return [file.name for file in found if file.is_file()]


def _counted(amount: tuple[int, int]) -> str:
    trials, scores = amount
    return counted(trials, "trial") + (f" and {counted(scores, 'score')}" if scores else "")


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _listed(names: list[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more} {'are' if len(names) > 1 else 'is'}"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
