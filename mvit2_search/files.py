"""Files that a reader never sees half written."""

import os
from pathlib import Path

from mvit2_search.errors import StorageError


def write_atomically(path: Path, text: str) -> None:
    """Write UTF-8 text under a temporary name and rename it into place.

    Parts of names that are no UTF-8 themselves are written as escapes, `\\udcff`.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as err:
        raise StorageError(f"{path}: cannot write: {err.strerror}") from err
