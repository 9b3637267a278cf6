"""Whether a study is what was written to it; what can be restored where it is not, and how."""

import json
import os
import shlex
import sqlite3
from itertools import count
from pathlib import Path

from mvit2_search.counts import counted
from mvit2_search.errors import StorageError
from mvit2_search.records import SCHEMA
from mvit2_search.store.contents import Contents, fact_name, read_amount, read_sound
from mvit2_search.store.digests import Digests, Known
from mvit2_search.store.lock import find_holder
from mvit2_search.store.paths import backup_path, database_path
from mvit2_search.store.reading import beside, is_damage

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
        remedies.append("there is no backup of it; nothing was changed: use another --study name to start anew")
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
