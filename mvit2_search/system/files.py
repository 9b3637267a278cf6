"""Files that a reader never sees half written."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

from mvit2_search.errors import StorageError
from mvit2_search.system.locks import check_supported, take

_SCRATCH = "tmp"  # how names of scratch folders begin


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


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """A new folder inside of `folder` for files until they are whole; it is removed at the end.

    Raises:
        StorageError: it cannot be made.
        BackendUnavailable: this system has no locks.
    """
    with ExitStack() as stack:
        with tidied(folder):  # until it is locked, its own must not be taken for a killed process's
            scratch = Path(mkdtemp(prefix=_SCRATCH, dir=folder))
            stack.enter_context(_locked(scratch, wait=False))
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        yield scratch


@contextmanager
def tidied(folder: Path) -> Iterator[None]:
    """Keep others out of `folder`, which is made if need be, without what killed processes have left there.

    Scratch folders of processes that still run stay.

    Raises:
        StorageError: it cannot be made or written.
        BackendUnavailable: this system has no locks.
    """
    check_supported()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder, wait=True):
            for left in folder.glob(f"{_SCRATCH}*/"):
                with suppress(FileNotFoundError), _locked(left, wait=False) as is_left:
                    if is_left:
                        shutil.rmtree(left, ignore_errors=True)
            yield
    except OSError as err:
        raise StorageError(f"{folder}: cannot write: {err.strerror}") from err


@contextmanager
def _locked(folder: Path, *, wait: bool) -> Iterator[bool]:
    """Hold a lock on `folder`; gives whether it is held, which it is where `wait` is on."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield take(handle, wait=wait)
    finally:
        os.close(handle)
