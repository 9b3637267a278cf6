"""Files that a reader never sees half written."""

import os
from pathlib import Path

from mvit2_search.errors import StorageError


def write_atomically(path: Path, text: str) -> None:
    """Write UTF-8 text under a temporary name and rename it into place.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as err:
        temporary.unlink(missing_ok=True)
        raise StorageError(f"{path}: cannot write: {err.strerror}") from err
