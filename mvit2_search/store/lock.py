"""One driver per study: a lock that the operating system frees however the driver ends."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from mvit2_search.errors import BackendUnavailable, StorageError, StudyConflict


@contextmanager
def driver_lock(folder: Path) -> Iterator[None]:
    """Hold the study in `folder`, which is made if need be.

    Raises:
        StudyConflict: another driver holds it; the message says which process, where and since when.
        StorageError: the folder cannot be written.
        BackendUnavailable: this system has no such locks.
    """
    try:
        import fcntl  # not on Windows
    except ImportError as err:
        raise BackendUnavailable("a search needs Linux or macOS; on Windows, use WSL") from err
    path = folder / "driver.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as err:
        raise StorageError(f"{path}: {err.strerror}; choose another place with --results") from err
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.truncate(0)
            since = datetime.now(UTC).isoformat(timespec="seconds")
            json.dump({"host": socket.gethostname(), "pid": os.getpid(), "since": since}, file)
            file.flush()
        except BlockingIOError as err:
            raise StudyConflict(
                f"study {folder.name!r} is in use {_holder(path)}; wait for it or stop it"
            ) from err
        except OSError as err:
            raise StorageError(f"{path}: {err.strerror}") from err
        yield


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return f"by process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError):  # the holder has only just taken it
        return "by another process"
