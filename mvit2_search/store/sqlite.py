"""SQLite: Optuna's storage in one file, and reading that file without changing it.

Optuna's storage on SQLite, set up so that a killed writer loses nothing that was told.

Write-ahead log, and the write lock taken when a transaction begins: Optuna reads before it writes in
one transaction, and two such transactions that both hold read locks would refuse each other.

Reading a study's database without changing it, also where nothing can be written.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mvit2_search.errors import StorageError

if TYPE_CHECKING:
    from optuna.storages import RDBStorage


def open_storage(path: Path) -> RDBStorage:
    """Optuna's storage in the file `path`, which is made if it is not there.

    Raises:
        StorageError: the file is no study, is damaged, or cannot be written.
    """
    import sqlalchemy
    from optuna.storages import RDBStorage

    def connect() -> sqlite3.Connection:
        return _connection(path)

    options = {"creator": connect, "poolclass": sqlalchemy.pool.QueuePool}  # a URL would need escapes in the path
    with translated(path):
        try:
            storage = RDBStorage("sqlite://", options)
        except RuntimeError as err:  # a schema of another Optuna
            raise StorageError(f"{path}: {err}") from err
    sqlalchemy.event.listen(storage.engine, "begin", _on_begin)
    return storage


def close_storage(storage: RDBStorage, path: Path) -> None:
    """Bring everything into the one file, which can then be read where nothing can be written.

    While somebody reads it, SQLite's files stay beside it.
    """
    storage.engine.dispose()
    with suppress(sqlite3.OperationalError):
        uri = f"{path.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=1)) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turns what the database says into `StorageError` with the file's name."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError, sqlite3.DatabaseError) as err:
        cause = err.__cause__ or err
        cause = getattr(cause, "orig", cause)
        raise StorageError(f"{path}: {' '.join(str(cause).split())}") from cause


def _connection(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path.absolute(), timeout=BUSY_SECONDS, check_same_thread=False)
    connection.isolation_level = None  # sqlite3's own BEGIN would come first
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection


def _on_begin(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


BUSY_SECONDS = 60
_UNWRITABLE = (
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
)  # SQLite wants files of its own beside the database


def is_damage(err: sqlite3.DatabaseError) -> bool:
    """Whether what is in the file is wrong, and not the disk, a permission, or who else has it open."""
    code = getattr(err, "sqlite_errorcode", sqlite3.SQLITE_ERROR)  # what Python itself finds wrong has none
    return not isinstance(err, sqlite3.OperationalError) or code & 0xFF == sqlite3.SQLITE_ERROR


def beside(path: Path) -> list[Path]:
    """What SQLite keeps beside a database that was not closed: changes that are not in it yet."""
    files = [path.with_name(f"{path.name}-{kind}") for kind in ("wal", "journal")]
    return [file for file in files if file.is_file() and file.stat().st_size]


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that sees the database as it is at one moment, while a driver writes to it too.

    Raises:
        sqlite3.DatabaseError: the file is none, or damaged, or cannot be read.
    """
    with ExitStack() as opened:
        connection = _opened(path, opened)
        connection.execute("BEGIN")
        yield connection


def _opened(path: Path, opened: ExitStack) -> sqlite3.Connection:
    try:
        return _connected(path, "mode=ro", opened)
    except sqlite3.OperationalError as err:
        if err.sqlite_errorcode & 0xFF not in _UNWRITABLE:
            raise
    if not beside(path):
        return _connected(path, "mode=ro&immutable=1", opened)
    folder = Path(opened.enter_context(TemporaryDirectory(prefix="mvit2-search-")))
    for file in (path, *beside(path)):
        shutil.copyfile(file, folder / file.name)
    return _connected(folder / path.name, "mode=rw", opened)


def _connected(path: Path, mode: str, opened: ExitStack) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?{mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    with ExitStack() as failed:
        failed.enter_context(closing(connection))
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # connecting alone opens nothing
        opened.push(failed.pop_all())
    return connection
