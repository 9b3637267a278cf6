"""Optuna's storage on SQLite, set up so that a killed writer loses nothing that was told.

Write-ahead log, and the write lock taken when a transaction begins: Optuna reads before it writes in
one transaction, and two such transactions that both hold read locks would refuse each other.
"""

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
    with translated(path):
        if read_only:
            return RDBStorage(f"sqlite:///file:{path.absolute()}?mode=ro&uri=true", skip_table_creation=True)
        storage = RDBStorage(f"sqlite:///{path.absolute()}", {"connect_args": {"timeout": _BUSY_SECONDS}})
        sqlalchemy.event.listen(storage.engine, "connect", _on_connect)
        sqlalchemy.event.listen(storage.engine, "begin", _on_begin)
        storage.engine.dispose()  # connections made before the listeners lack the settings
        return storage


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turns what the database says into `StorageError` with the file's name."""
    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, StorageInternalError, RuntimeError) as err:
        cause = err.__cause__ or err
        raise StorageError(f"{path}: {' '.join(str(getattr(cause, 'orig', cause)).split())}") from err


def _on_connect(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # sqlite3's own BEGIN would come first
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", f"busy_timeout={_BUSY_SECONDS * 1000}"):
        connection.execute(f"PRAGMA {pragma}")


def _on_begin(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
