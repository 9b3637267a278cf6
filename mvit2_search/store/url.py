"""A study in any database that SQLAlchemy has a URL for, such as a server's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from mvit2_search.errors import BackendUnavailable, SpecError, StorageError
from mvit2_search.store.queries import TABLES, Contents, Damage, Snapshot, study_ids

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from sqlalchemy import Connection


class UrlStorage:
    """A `Storage` at a URL that Optuna takes. It keeps no backup and no digests: that is its server's work.

    Raises:
        SpecError: it is no such URL.
    """

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

    def open(self, found: Contents | None) -> RDBStorage:
        from optuna.storages import RDBStorage

        return RDBStorage(self._url)

    def close(self, opened: RDBStorage) -> None:
        opened.engine.dispose()

    def writing(self, name: str, text: str) -> nullcontext[None]:
        return nullcontext()

    def back_up(self) -> None:
        """Nothing to do."""

    def refusal(self, what: str) -> StorageError:
        return self._refused(f"{what} is damaged")

    def _refused(self, why: str) -> StorageError:
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
            raise self._refused(str(err)) from err
        except SQLAlchemyError as err:
            raise StorageError(f"{self.name}: {' '.join(str(getattr(err, 'orig', err)).split())}") from err

    def _find(self, connection: Connection) -> Snapshot | None:
        from sqlalchemy import inspect, text

        def query(sql: str, **values: Any) -> list[tuple[Any, ...]]:
            return [tuple(row) for row in connection.execute(text(sql), values)]

        if not set(inspect(connection).get_table_names()) >= TABLES:
            return None
        study_id = study_ids(query, self.name).get(self.study_name)
        return None if study_id is None else Snapshot(query, study_id)
