"""Optuna's storage on SQLite, set up so that a killed writer loses nothing that was told.

Write-ahead log, and the write lock taken when a transaction begins: Optuna reads before it writes in
one transaction, and two such transactions that both hold read locks would refuse each other.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvit2_search.errors import StorageError
from mvit2_search.store.reading import BUSY_SECONDS

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
