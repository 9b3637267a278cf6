"""Optuna's storage on SQLite, set up so that a killed writer loses nothing that was told.

Write-ahead log, and the write lock taken when a transaction begins: Optuna reads before it writes in
one transaction, and two such transactions that both hold read locks would refuse each other.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage

from mvit2_search.errors import StorageError

_BUSY_SECONDS = 60


def database_path(folder: Path) -> Path:
    """The study's database in its folder."""
    return folder / "study.db"


def open_storage(path: Path, *, read_only: bool = False) -> RDBStorage:
    """Optuna's storage in the file `path`; made if it is not there and `read_only` is off.

    Raises:
        StorageError: the file is no study, is damaged, or cannot be written.
    """

    def connect() -> sqlite3.Connection:
        return _connection(path, read_only=read_only)

    options = {"creator": connect, "poolclass": sqlalchemy.pool.QueuePool}  # a URL would need escapes in the path
    with translated(path):
        try:
            storage = RDBStorage("sqlite://", options, skip_table_creation=read_only)
        except RuntimeError as err:  # a schema of another Optuna
            raise StorageError(f"{path}: {err}") from err
    if not read_only:
        sqlalchemy.event.listen(storage.engine, "begin", _on_begin)
    return storage


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turns what the database says into `StorageError` with the file's name."""
    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, StorageInternalError) as err:
        cause = err.__cause__ or err
        raise StorageError(f"{path}: {' '.join(str(getattr(cause, 'orig', cause)).split())}") from err


def _connection(path: Path, *, read_only: bool) -> sqlite3.Connection:
    uri = path.absolute().as_uri() + ("?mode=ro" if read_only else "")
    connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, check_same_thread=False)
    connection.isolation_level = None  # sqlite3's own BEGIN would come first
    if not read_only:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
    return connection


def _on_begin(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
