"""A study's SQLite file: writing that a kill cannot hurt, reading that changes no byte."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mvit2_search.errors import StorageError
from mvit2_search.store.queries import TABLES, Contents, Damage, Query, Snapshot, study_ids

_BUSY_SECONDS = 60
_UNWRITABLE = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)  # SQLite wants files of its own beside a database


def connect(path: Path) -> sqlite3.Connection:
    """For Optuna, which begins its transactions with `begin`. The log keeps what a killed process wrote."""
    connection = sqlite3.connect(path.absolute(), timeout=_BUSY_SECONDS, check_same_thread=False)
    connection.isolation_level = None  # sqlite3's own BEGIN would come first
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection


def begin(connection: Any) -> None:
    """Take the write lock at once.

    Optuna reads before it writes in one transaction: two that both hold read locks would refuse each other.
    """
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def merge_log(path: Path) -> None:
    """Make it one file, which can be read where nothing can be written; not while somebody reads it."""
    with suppress(sqlite3.OperationalError):
        uri = f"{path.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=1)) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that sees the database as it is at one moment, also where nothing can be written.

    Raises:
        sqlite3.DatabaseError: the file is none, or damaged, or cannot be read.
    """
    with ExitStack() as opened:
        connection = _open(path, opened)
        connection.execute("BEGIN")
        yield connection


@contextmanager
def snapshot(path: Path) -> Iterator[Snapshot]:
    """The same of the study in it.

    Raises:
        StorageError: there is none.
    """
    with reading(path) as connection:
        query = _query(connection)
        study_id = _study_id(query, path)
        if study_id is None:
            raise StorageError(f"{path}: holds no study")
        yield Snapshot(query, study_id)


def read_sound(path: Path) -> Contents | None:
    """Everything in the database, once SQLite has found nothing wrong with it; None where no study is in it yet.

    Raises:
        sqlite3.DatabaseError, Damage: it is damaged, or cannot be read.
        StorageError: it is sound, but no study of this program.
    """
    with reading(path) as connection:
        query = _query(connection)
        ((found,),) = query("PRAGMA integrity_check(1)")
        if found != "ok":
            raise Damage(" ".join(found.split()))
        tables = {name for (name,) in query("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables & TABLES and tables:
            raise StorageError(f"{path}: a database of another program; choose another `study` name")
        if not tables >= TABLES:  # a driver was killed while it made them
            return None
        study_id = _study_id(query, path)
        return None if study_id is None else Snapshot(query, study_id).contents(str(path))


def _query(connection: sqlite3.Connection) -> Query:
    return lambda sql, **values: connection.execute(sql, values)


def _study_id(query: Query, path: Path) -> int | None:
    """The only one's, whatever its name: the folder may have been renamed since."""
    ids = study_ids(query, str(path))
    if len(ids) > 1:
        raise StorageError(
            f"{path}: holds {len(ids)} Optuna studies ({', '.join(map(repr, ids))}), expected one; copy the file, "
            "then remove what is too much: optuna delete-study "
            f"--storage sqlite:///{path.absolute()} --study-name NAME"
        )
    return next(iter(ids.values()), None)


def _open(path: Path, opened: ExitStack) -> sqlite3.Connection:
    try:
        return _connect(path, "mode=ro", opened)
    except sqlite3.OperationalError as err:
        if err.sqlite_errorcode & 0xFF not in _UNWRITABLE:
            raise
    if not (logs := logs_of(path)):
        return _connect(path, "mode=ro&immutable=1", opened)
    folder = Path(opened.enter_context(TemporaryDirectory(prefix="mvit2-search-")))
    for file in (path, *logs):
        shutil.copyfile(file, folder / file.name)
    return _connect(folder / path.name, "mode=rw", opened)


def _connect(path: Path, mode: str, opened: ExitStack) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?{mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)
    opened.enter_context(closing(connection))
    connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # connecting alone opens nothing
    return connection


def logs_of(path: Path) -> list[Path]:
    """What SQLite keeps beside a database that was not closed: changes that are not in it yet."""
    files = [path.with_name(f"{path.name}-{kind}") for kind in ("wal", "journal")]
    return [file for file in files if file.is_file() and file.stat().st_size]


def is_damage(err: BaseException | None) -> bool:
    """Whether what is in a file is wrong, and not the disk, a permission, or who else has it open."""
    code = getattr(err, "sqlite_errorcode", sqlite3.SQLITE_ERROR)  # what Python itself finds wrong has none
    is_operational = isinstance(err, sqlite3.OperationalError) and code & 0xFF != sqlite3.SQLITE_ERROR
    return isinstance(err, sqlite3.DatabaseError) and not is_operational
