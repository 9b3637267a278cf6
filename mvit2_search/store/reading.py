"""Reading a study's database without changing it, also where nothing can be written."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

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
