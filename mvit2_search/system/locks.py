"""Locks between processes and users, which the operating system frees however their holder ends."""

import errno
import json
import os
import re
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkstemp
from time import sleep
from typing import Self

from mvit2_search.errors import BackendUnavailable, StorageError

_POLL_S = 0.1
_HOST = re.compile(r"[\w.-]{1,255}")  # everybody may write the file, so only this much of it is printed


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """The process that holds a lock."""

    pid: int
    host: str
    since: str  # UTC, by the holder's clock

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"

    @classmethod
    def here(cls) -> Self:
        """This process, from now on."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(pid=os.getpid(), host=socket.gethostname(), since=now)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self | None:
        """None if the text is no holder, or only half written."""
        try:
            row = json.loads(text)
            since = datetime.fromisoformat(row["since"]).isoformat(timespec="seconds")
            if not _HOST.fullmatch(row["host"]):
                return None
            return cls(pid=int(row["pid"]), host=row["host"], since=since)
        except (ValueError, TypeError, KeyError):
            return None


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
def locked(
    path: Path, *, on_wait: Callable[[Holder | None], None], pause: Callable[[float], None] = sleep
) -> Iterator[None]:
    """Hold the lock file `path`, which every user of this computer may lock; it is deleted afterwards.

    Args:
        on_wait: called before waiting, with the holder, or None if it has not signed yet.
        pause: sleeps for so many seconds; an exception from it ends the waiting.

    Raises StorageError if the file cannot be made or opened, BackendUnavailable without file locks.
    """
    check_supported()
    try:
        descriptor = _acquire_path(path, on_wait, pause)
    except OSError as err:
        raise StorageError(f"{path}: cannot be locked ({err.strerror}); remove it if nobody uses it") from err
    try:
        with suppress(OSError):  # the disk is full: the name of the holder is a courtesy
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, Holder.here().to_json().encode(), 0)
        yield
    finally:
        if _is_at(path, descriptor):
            with suppress(OSError):  # left by a killed process of another user: only that user may delete it
                path.unlink()
        os.close(descriptor)


def _acquire_path(path: Path, on_wait: Callable[[Holder | None], None], pause: Callable[[float], None]) -> int:
    """A locked file that is still at `path`: its last holder may just have deleted it."""
    while True:
        descriptor = _open(path)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "it is no file")
            if not acquire(descriptor):
                on_wait(Holder.from_json(os.pread(descriptor, 1_000, 0)))
                while not acquire(descriptor):
                    pause(_POLL_S)  # a blocking flock would not end at a signal
            if _is_at(path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _open(path: Path) -> int:
    """Without O_CREAT, which Linux refuses for other users' files in a folder that everybody may write to."""
    while True:
        with suppress(FileNotFoundError):
            return os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        _create(path)


def _create(path: Path) -> None:
    """Atomically, with permissions for everybody whatever the umask is."""
    descriptor, name = mkstemp(prefix=path.name, dir=path.parent)
    try:
        os.fchmod(descriptor, 0o666)
        with suppress(FileExistsError):
            os.link(name, path)
    finally:
        os.close(descriptor)
        os.unlink(name)  # noqa: PTH108 (a name, not a path)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False
