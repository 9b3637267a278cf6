"""A study in the file `study.db` in its folder, with its digests and a backup beside it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mvit2_search.errors import StorageError
from mvit2_search.store import integrity
from mvit2_search.store.database import begin, connect, merge_log, read_sound, reading, snapshot
from mvit2_search.store.digests import Digests
from mvit2_search.store.folders import backup_path, database_path
from mvit2_search.store.queries import Contents, Damage, Snapshot

if TYPE_CHECKING:
    from optuna.storages import RDBStorage


class SqliteStorage:
    """A `Storage` in `folder`. Only one process at a time, who holds the folder's lease, opens it to write."""

    study_name = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = database_path(folder)
        self._digests = Digests(folder)

    @property
    def name(self) -> str:
        return str(self._path)

    @contextmanager
    def reading(self) -> Iterator[Snapshot]:
        with integrity.refusing(self.folder), snapshot(self._path) as found:
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
        options = {"creator": lambda: connect(self._path), "poolclass": sqlalchemy.pool.QueuePool}
        storage = RDBStorage("sqlite://", options)  # in a URL, the path would need escapes
        sqlalchemy.event.listen(storage.engine, "begin", begin)
        if found is not None:
            self._digests.rewrite(found.texts())
        return storage

    def close(self, opened: RDBStorage) -> None:
        opened.engine.dispose()
        merge_log(self._path)

    @contextmanager
    def writing(self, name: str, text: str) -> Iterator[None]:
        self._digests.coming(name, text)
        yield
        self._digests.written(name, text)

    def back_up(self) -> None:
        """Replace the backup, once the copy is known to be sound."""
        path = backup_path(self.folder)
        temporary = path.with_name(f".{path.name}.tmp")  # left by a killed driver, it is written over
        try:
            temporary.unlink(missing_ok=True)
            with reading(self._path) as source, closing(sqlite3.connect(temporary)) as copy:
                source.backup(copy)
                copy.execute("PRAGMA journal_mode=DELETE")  # one file
            contents = read_sound(temporary)
            if contents is None or any(self._digests.differing(contents.texts(), self._digests.known())):
                raise Damage("the study is not what was written to it")
            temporary.replace(path)
        except (OSError, sqlite3.DatabaseError, Damage) as err:
            temporary.unlink(missing_ok=True)
            raise StorageError(f"{path}: no backup was made: {err}") from err

    def refusal(self, what: str) -> StorageError:
        return integrity.damaged(self.folder, f"{what} is damaged")
