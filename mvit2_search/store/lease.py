"""One driver per study: a lock that the operating system frees however the driver ends.

It is on the folder, which goes on being locked when a file in it is deleted or the folder is renamed.
`driver.lock` says who holds it, and is locked too: network disks tell other computers only of locks on files.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from mvit2_search.errors import StorageError, StudyConflict
from mvit2_search.system.locks import Holder, acquire, check_supported

_TRIES, _PAUSE_S = 20, 0.05  # a reader that looks whether the lock is held has it for an instant


def lock_path(folder: Path) -> Path:
    """The file that says who runs the study in `folder`, or did last."""
    return folder / "driver.lock"


@contextmanager
def driver_lock(folder: Path) -> Iterator[Callable[[], None]]:
    """Hold the study in `folder`, which is made if need be.

    Gives a function that raises StorageError once `folder` is another one than is held, or none.

    Raises:
        StudyConflict: another driver holds it; the message says which process, where and since when.
        StorageError: the folder cannot be written.
        BackendUnavailable: this system has no such locks.
    """
    check_supported()
    path = lock_path(folder)
    with ExitStack() as opened:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held = _open_folder(folder, opened)
            free = _take(held)
            file = opened.enter_context(path.open("a+", encoding="utf-8")) if free else None
            if file is None or not _take(file.fileno()):
                raise StudyConflict(f"study {folder.name!r} is in use by {_named(path)}; wait for it or stop it")
            _sign(file)
        except OSError as err:
            raise StorageError(f"{path}: {err.strerror}; choose another place with --results") from err
        try:
            yield lambda: _check_same(folder, held)
        except StorageError:
            _check_same(folder, held)  # which is then the cause
            raise


def find_holder(folder: Path) -> Holder | None:
    """The process that runs the study in `folder` at this moment; None where there is none.

    Raises:
        BackendUnavailable: this system has no such locks.
    """
    check_supported()
    path = lock_path(folder)
    with ExitStack() as opened:
        try:
            descriptors = [_open_folder(folder, opened)]
            if path.is_file():
                descriptors.append(opened.enter_context(path.open(encoding="utf-8")).fileno())
            if all(acquire(descriptor, shared=True) for descriptor in descriptors):
                return None
        except OSError as err:
            raise StorageError(f"{path}: {err.strerror}") from err
    return _read(path) or Holder(pid=0, host="unknown", since="unknown")


def _open_folder(folder: Path, opened: ExitStack) -> int:
    descriptor = os.open(folder, os.O_RDONLY)
    opened.callback(os.close, descriptor)
    return descriptor


def _take(descriptor: int) -> bool:
    """Lock it, waiting a second for whoever only looks."""
    for _ in range(_TRIES):
        if acquire(descriptor):
            return True
        time.sleep(_PAUSE_S)
    return False


def _sign(file: TextIO) -> None:
    file.truncate(0)
    file.write(Holder.here().to_json())
    file.flush()


def _check_same(folder: Path, held: int) -> None:
    try:
        same = os.path.samestat(folder.stat(), os.fstat(held))
    except OSError:
        same = False
    if not same:
        raise StorageError(
            f"{folder}: the folder was moved or deleted while its study ran; the same command goes on with the "
            "folder's new name as --study"
        )


def _named(path: Path) -> str:
    holder = _read(path)  # who has only just taken it has not signed yet
    return str(holder) if holder else "another process"


def _read(path: Path) -> Holder | None:
    try:
        return Holder.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
