"""Files that no reader sees half written, file locks, and scratch folders that go away even after a kill."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

from mvit2_search.errors import BackendUnavailable, StorageError

_SCRATCH = "tmp"  # the names of scratch folders begin with this


def write_atomically(path: Path, text: str) -> None:
    """Write UTF-8 text under a temporary name and rename it into place; raises StorageError.

    Parts of file names that are not UTF-8 are written as escapes, `\\udcff`.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        temporary.replace(path)
    except OSError as err:
        raise StorageError(f"{path}: cannot write: {err.strerror}") from err
    finally:
        with suppress(OSError):  # it is gone unless writing failed
            temporary.unlink()


def check_supported() -> None:
    """Raise BackendUnavailable without file locks; call it before opening a file, where some systems fail then."""
    try:
        import fcntl  # noqa: F401
    except ImportError as err:
        raise BackendUnavailable("file locks need Linux or macOS; on Windows, use WSL") from err


def acquire(descriptor: int, *, wait: bool = False, shared: bool = False) -> bool:
    """Lock an open file or folder until it is closed, if need be `wait` for that; returns whether it is locked."""
    import fcntl

    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """A new folder inside `folder` for unfinished files, removed at the end. Raises like `locked_folder`."""
    with ExitStack() as stack:
        with locked_folder(folder):  # so that nobody takes the new folder for an abandoned one before it is locked
            scratch = Path(mkdtemp(prefix=_SCRATCH, dir=folder))
            stack.enter_context(_lock(scratch, wait=False))
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        yield scratch


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Lock `folder`, which is made if missing, and remove the scratch folders of processes that were killed.

    Raises StorageError, or BackendUnavailable if the system has no locks.
    """
    check_supported()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(folder, wait=True):
            for scratch in folder.glob(f"{_SCRATCH}*/"):
                with suppress(FileNotFoundError), _lock(scratch, wait=False) as abandoned:
                    if abandoned:
                        shutil.rmtree(scratch, ignore_errors=True)
            yield
    except OSError as err:
        raise StorageError(f"{folder}: cannot write: {err.strerror}") from err


@contextmanager
def _lock(folder: Path, *, wait: bool) -> Iterator[bool]:
    """Yields whether the lock is held."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield acquire(descriptor, wait=wait)
    finally:
        os.close(descriptor)
