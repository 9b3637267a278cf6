"""One process at a time, whoever's it is: a lock file that the operating system frees however its holder ends."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkstemp

from mvit2_search.errors import BackendUnavailable, StorageError


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """Who holds a lock."""

    pid: int
    since: str  # UTC

    def __str__(self) -> str:
        return f"process {self.pid}, since {self.since}"


def take(descriptor: int, *, wait: bool = False, shared: bool = False) -> bool:
    """Whether an open file or folder is locked now, for as long as it stays open.

    Args:
        wait: until whoever holds it ends.
        shared: with others that share it.

    Raises:
        BackendUnavailable: this system has no such locks.
    """
    try:
        import fcntl
    except ImportError as err:
        raise BackendUnavailable("file locks need Linux or macOS; on Windows, use WSL") from err
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


@contextmanager
def locked(path: Path, *, waits: Callable[[Holder | None], None]) -> Iterator[None]:
    """Hold `path`, a file of its own that every user of this computer may lock; it is gone afterwards.

    Args:
        waits: told before waiting for a holder, which is None where that has not said yet who it is.

    Raises:
        BackendUnavailable: this system has no such locks.
        StorageError: the file cannot be made or opened.
    """
    try:
        handle = _taken(path, waits)
    except OSError as err:
        raise StorageError(f"{path}: cannot be locked ({err.strerror}); remove it if nobody uses it") from err
    try:
        _write(handle, Holder(pid=os.getpid(), since=datetime.now(UTC).isoformat(timespec="seconds")))
        yield
    finally:
        if _is_at(path, handle):
            with suppress(OSError):  # another user's, left by a process that was killed: it stays
                path.unlink()
        os.close(handle)


def _taken(path: Path, waits: Callable[[Holder | None], None]) -> int:
    """The open file, locked, and sure to be the one that others will find there."""
    while True:
        handle = _opened(path)
        try:
            if not take(handle):
                waits(_holder(handle))
                take(handle, wait=True)
            if _is_at(path, handle):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _opened(path: Path) -> int:
    """Without O_CREAT, which Linux refuses for other users' files in a folder that everybody may write to."""
    while True:
        with suppress(FileNotFoundError):
            return os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        _make(path)


def _make(path: Path) -> None:
    """All of a sudden, for whoever looks: a file that everybody may open, whatever the umask says."""
    handle, name = mkstemp(prefix=path.name, dir=path.parent)
    try:
        os.fchmod(handle, 0o666)
        with suppress(FileExistsError):
            os.link(name, path)
    finally:
        os.close(handle)
        os.unlink(name)  # noqa: PTH108 (a name, not a path)


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(follow_symlinks=False), os.fstat(handle))
    except FileNotFoundError:
        return False


def _write(handle: int, holder: Holder) -> None:
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps(asdict(holder)).encode(), 0)


def _holder(handle: int) -> Holder | None:
    """Checked, as it will be printed and every user may write it."""
    try:
        row = json.loads(os.pread(handle, 1_000, 0))
        return Holder(
            pid=int(row["pid"]), since=datetime.fromisoformat(row["since"]).isoformat(timespec="seconds")
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None
