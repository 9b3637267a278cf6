"""Where a study's records are kept: in `study.db` in its folder, or in any database with a URL of SQLAlchemy."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvit2_search.errors import BackendUnavailable, SpecError, StorageError
from mvit2_search.store import integrity, sqlite
from mvit2_search.store.folders import backup_path, database_path
from mvit2_search.store.integrity import Digests
from mvit2_search.store.sqlite import Contents, Damage, Snapshot

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from sqlalchemy import Connection


class Storage(ABC):
    """Where the records of one study are: Optuna's tables, in a file or on a database server.

    Optuna writes them; reading is by SQL. Implementations promise:

    - Construction opens nothing.
    - Reading imports no Optuna, changes nothing, and waits for no writer.
    - What reading finds wrong is a StorageError whose message begins with `name`. Of damage it says what to do.

    Attributes:
        name: for messages; without a password.
        study_name: which of Optuna's studies in the database; None for the only one, whatever its name.
    """

    name: str
    study_name: str | None = None

    @abstractmethod
    def reading(self) -> AbstractContextManager[Snapshot]:
        """The study at one moment, also while a driver writes to it."""

    @abstractmethod
    def read_checked(self) -> Contents | None:
        """All facts and trials, once they are known to be sound; None where nothing has been recorded yet."""

    @abstractmethod
    def open(self, found: Contents | None) -> RDBStorage:
        """Optuna's storage, to write to, after `read_checked` gave `found`. Tables are made if need be.

        Errors are Optuna's and SQLAlchemy's own.
        """

    @abstractmethod
    def refusal(self, why: str) -> StorageError:
        """The refusal to go on with a damaged study; it says what can be restored, and how."""

    def close(self, opened: RDBStorage) -> None:
        opened.engine.dispose()

    @abstractmethod
    def writing(self, name: str, text: str) -> AbstractContextManager[None]:
        """Held while Optuna writes the JSON `text` of a record or fact, so that damage to it is noticed."""

    @abstractmethod
    def back_up(self) -> None:
        """Replace the copy of the study, where nobody else keeps one. After StorageError the old one stays."""


class SqliteStorage(Storage):
    """A file in `folder`. Only one process at a time, who holds the folder's lease, opens it to write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = database_path(folder)
        self._digests = Digests(folder)
        self.name = str(self._path)

    @contextmanager
    def reading(self) -> Iterator[Snapshot]:
        with integrity.refusing(self.folder), sqlite.snapshot(self._path) as found:
            yield found

    def read_checked(self) -> Contents | None:
        return integrity.read_checked(self.folder)

    def open(self, found: Contents | None) -> RDBStorage:
        import sqlalchemy
        from optuna.storages import RDBStorage

        if self._path.is_symlink():
            raise StorageError(
                f"{self._path}: a link to {self._path.readlink()}, where another driver would not be noticed; "
                "copy the study here"
            )
        options = {"creator": lambda: sqlite.connect(self._path), "poolclass": sqlalchemy.pool.QueuePool}
        storage = RDBStorage("sqlite://", options)  # in a URL, the path would need escapes
        sqlalchemy.event.listen(storage.engine, "begin", sqlite.begin)
        if found is not None:
            self._digests.rewrite(found.texts())
        return storage

    def close(self, opened: RDBStorage) -> None:
        super().close(opened)
        sqlite.merge_log(self._path)

    @contextmanager
    def writing(self, name: str, text: str) -> Iterator[None]:
        self._digests.coming(name, text)
        yield
        self._digests.written(name, text)

    def back_up(self) -> None:
        path = backup_path(self.folder)
        temporary = path.with_name(f".{path.name}.tmp")  # left by a killed driver, it is written over
        try:
            temporary.unlink(missing_ok=True)
            with sqlite.reading(self._path) as source, closing(sqlite3.connect(temporary)) as copy:
                source.backup(copy)
                copy.execute("PRAGMA journal_mode=DELETE")  # one file
            contents = sqlite.read_sound(temporary)
            if contents is None or any(self._digests.differing(contents.texts(), self._digests.known())):
                raise Damage("the study is not what was written to it")
            temporary.replace(path)
        except (OSError, sqlite3.DatabaseError, Damage) as err:
            temporary.unlink(missing_ok=True)
            raise StorageError(f"{path}: no backup was made: {err}") from err

    def refusal(self, why: str) -> StorageError:
        return integrity.damaged(self.folder, why)


class UrlStorage(Storage):
    """A database at a URL that Optuna takes. Backups and digests are its server's work.

    Raises SpecError if it is no such URL.
    """

    study_name: str

    def __init__(self, url: str, study_name: str) -> None:
        from sqlalchemy import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            shown = make_url(url).render_as_string(hide_password=True)
        except (ArgumentError, ValueError):  # whose message may hold the password
            raise SpecError(
                "the storage is no URL of a database, such as postgresql://user:password@host/database"
            ) from None
        self._url = url
        self.name = f"study {study_name!r} at {shown}"
        self.study_name = study_name

    @contextmanager
    def reading(self) -> Iterator[Snapshot]:
        with self._connected() as connection:
            found = self._find(connection)
            if found is None:
                raise StorageError(f"{self.name}: there is none")
            yield found

    def read_checked(self) -> Contents | None:
        with self._connected() as connection:
            found = self._find(connection)
            return None if found is None else found.contents(self.name)

    def writing(self, name: str, text: str) -> AbstractContextManager[None]:
        return nullcontext()  # a server notices damage itself

    def back_up(self) -> None:
        """A server has its own."""

    def open(self, found: Contents | None) -> RDBStorage:
        from optuna.storages import RDBStorage

        return RDBStorage(self._url)

    def refusal(self, why: str) -> StorageError:
        return StorageError(f"{self.name}: {why}; restore the database from its server's backup")

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """A connection that sees the database at one moment."""
        from sqlalchemy import create_engine
        from sqlalchemy.exc import SQLAlchemyError
        from sqlalchemy.pool import NullPool

        try:
            engine = create_engine(self._url, poolclass=NullPool)
            with engine.connect() as connection:
                if engine.dialect.name == "sqlite":
                    connection.exec_driver_sql("BEGIN")  # Python's sqlite3 begins none for what only reads
                else:
                    connection.execution_options(isolation_level="REPEATABLE READ")
                yield connection
        except ImportError as err:
            raise BackendUnavailable(f"{self.name}: {err}; install that driver of SQLAlchemy's") from err
        except Damage as err:
            raise self.refusal(str(err)) from err
        except SQLAlchemyError as err:
            raise StorageError(f"{self.name}: {' '.join(str(getattr(err, 'orig', err)).split())}") from err

    def _find(self, connection: Connection) -> Snapshot | None:
        from sqlalchemy import inspect, text

        def query(sql: str, **values: Any) -> list[tuple[Any, ...]]:
            return [tuple(row) for row in connection.execute(text(sql), values)]

        if not set(inspect(connection).get_table_names()) >= sqlite.TABLES:
            return None
        study_id = sqlite.study_ids(query, self.name).get(self.study_name)
        return None if study_id is None else Snapshot(query, study_id)
