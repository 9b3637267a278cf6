"""One process at a time, whoever's it is: a lock file that the operating system frees however its holder ends."""

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

_LOOK_S = 0.1  # between two looks at whether a lock is free
_HOST = re.compile(r"[\w.-]{1,255}")  # what may be printed of a file that everybody may write


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
        return cls(
            pid=os.getpid(), host=socket.gethostname(), since=datetime.now(UTC).isoformat(timespec="seconds")
        )

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self | None:
        """None of what is no holder, or not a whole one yet: others write the file."""
        try:
            row = json.loads(text)
            since = datetime.fromisoformat(row["since"]).isoformat(timespec="seconds")
            if not _HOST.fullmatch(row["host"]):
                return None
            return cls(pid=int(row["pid"]), host=row["host"], since=since)
        except (ValueError, TypeError, KeyError):
            return None


def check_supported() -> None:
    """To be called before what is to be locked is opened: systems without locks fail at that in other ways.

    Raises:
        BackendUnavailable: this system has no such locks.
    """
    try:
        import fcntl  # noqa: F401
    except ImportError as err:
        raise BackendUnavailable("file locks need Linux or macOS; on Windows, use WSL") from err


def take(descriptor: int, *, wait: bool = False, shared: bool = False) -> bool:
    """Whether an open file or folder is locked now, for as long as it stays open.

    Args:
        wait: until whoever holds it ends.
        shared: with others that share it.
    """
    import fcntl

    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


@contextmanager
def locked(
    path: Path, *, waits: Callable[[Holder | None], None], pause: Callable[[float], None] = sleep
) -> Iterator[None]:
    """Hold `path`, a file of its own that every user of this computer may lock; it is gone afterwards.

    Args:
        waits: told before waiting for a holder, which is None where that has not said yet who it is.
        pause: waits for so many seconds; what it raises ends the waiting.

    Raises:
        BackendUnavailable: this system has no such locks.
        StorageError: the file cannot be made or opened.
    """
    check_supported()
    try:
        handle = _taken(path, waits, pause)
    except OSError as err:
        raise StorageError(f"{path}: cannot be locked ({err.strerror}); remove it if nobody uses it") from err
    try:
        with suppress(OSError):  # a full disk: who holds it is a courtesy
            os.ftruncate(handle, 0)
            os.pwrite(handle, Holder.here().to_json().encode(), 0)
        yield
    finally:
        if _is_at(path, handle):
            with suppress(OSError):  # another user's, left by a process that was killed: it stays
                path.unlink()
        os.close(handle)


def _taken(path: Path, waits: Callable[[Holder | None], None], pause: Callable[[float], None]) -> int:
    """The open file, locked, and sure to be the one that others will find there."""
    while True:
        handle = _opened(path)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise OSError(errno.EINVAL, "it is no file")
            if not take(handle):
                waits(Holder.from_json(os.pread(handle, 1_000, 0)))
                while not take(handle):
                    pause(_LOOK_S)  # the system's own waiting would not end at a signal
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
