"""A copy of a study's database beside it, for when that is damaged."""

import sqlite3
from contextlib import closing
from pathlib import Path

from mvit2_search.errors import StorageError
from mvit2_search.store.contents import read_sound
from mvit2_search.store.digests import Digests
from mvit2_search.store.paths import backup_path, database_path
from mvit2_search.store.reading import reading


def back_up(folder: Path) -> None:
    """Replace the backup by what the database holds now, all of it, once the copy is known to be sound.

    Only the driver may do it.

    Raises:
        StorageError: it cannot be written, or the database is damaged; the backup of before stays.
    """
    path = backup_path(folder)
    temporary = path.with_name(f".{path.name}.tmp")  # left by a killed driver, it is written over
    try:
        temporary.unlink(missing_ok=True)
        with reading(database_path(folder)) as source, closing(sqlite3.connect(temporary)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file
        contents, digests = read_sound(temporary), Digests(folder)
        if contents is None or any(digests.differing(contents.texts(), digests.known())):
            raise sqlite3.DatabaseError("the study is not what was written to it")
        temporary.replace(path)
    except (OSError, sqlite3.DatabaseError) as err:
        temporary.unlink(missing_ok=True)
        raise StorageError(f"{path}: no backup was made: {err}") from err
