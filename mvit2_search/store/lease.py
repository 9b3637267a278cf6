"""Leases: one driver per study, one process at a time per device. And what a driver is doing, for `status`.

Both leases are locks on files, which the operating system frees however their holder ends, and which say who that
is.

- A study: a second driver is refused. Its folder is locked, and stays so when it is renamed or files in it are
  deleted; and `driver.lock` in it, as network disks tell other computers only of locks on files.
- A device: a second process waits. A file that all users of this computer share is locked.
"""

import errno
import json
import os
import re
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import gettempdir, mkstemp
from time import sleep
from typing import Self

from mvit2_search.errors import StorageError, StudyConflict
from mvit2_search.system.files import acquire, check_supported, write_atomically

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


def _sign(descriptor: int) -> None:
    """Write into a locked file that this process holds it from now on."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    holder = Holder(pid=os.getpid(), host=socket.gethostname(), since=now)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(asdict(holder)).encode(), 0)


def _is_at(path: Path, descriptor: int, *, follow_symlinks: bool) -> bool:
    """Whether the open file or folder is still the one at `path`."""
    try:
        return os.path.samestat(path.stat(follow_symlinks=follow_symlinks), os.fstat(descriptor))
    except OSError:
        return False


@dataclass(frozen=True, kw_only=True, slots=True)
class Activity:
    """What process `pid` does.

    Attributes:
        phase: of the whole search, such as `loading images` or `confirming`.
        subject: the trial or published width that it is about, if it is about one.
        doing: what is done to it.
        since: when the subject's turn began, or the phase where there is none; UTC.
    """

    pid: int
    phase: str
    subject: str | None
    doing: str | None
    since: str


_ACTIVITY = "progress.json"


def write_activity(folder: Path, activity: Activity) -> None:
    """Say what is done now. A full disk is no reason to stop here: what matters more will meet it."""
    with suppress(StorageError):
        write_atomically(folder / _ACTIVITY, json.dumps(asdict(activity)))


def forget_activity(folder: Path) -> None:
    with suppress(OSError):
        (folder / _ACTIVITY).unlink()


def read_activity(folder: Path, holder: Holder | None) -> Activity | None:
    """What `holder` does; None where nobody runs the study, whatever a killed driver left."""
    try:
        activity = Activity(**json.loads((folder / _ACTIVITY).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return activity if holder is not None and holder.pid == activity.pid else None


_TRIES, _PAUSE_S = 20, 0.05  # a reader that looks whether the lock is held has it for an instant


def lock_path(folder: Path) -> Path:
    """The file that says who runs the study in `folder`, or did last."""
    return folder / "driver.lock"


@contextmanager
def driver_lock(folder: Path) -> Iterator[Callable[[], None]]:
    """Hold the study in `folder`, which is made if need be.

    Yields a function that raises StorageError once the folder at that path is another one, or none.

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
            held = _open(folder, os.O_RDONLY, opened)
            if not (_take(held) and _take(file := _open(path, os.O_RDWR | os.O_CREAT, opened))):
                holder = _read(path) or "another process"  # which has only just taken it
                raise StudyConflict(f"study {folder.name!r} is in use by {holder}; wait for it or stop it")
            _sign(file)
        except OSError as err:
            raise StorageError(f"{path}: {err.strerror}; choose another folder for `results`") from err
        try:
            yield lambda: _check_same(folder, held)
        except StorageError:
            _check_same(folder, held)  # which is then the cause
            raise


def find_holder(folder: Path) -> Holder | None:
    """The process that runs the study in `folder` at this moment; None where there is none."""
    check_supported()
    path = lock_path(folder)
    with ExitStack() as opened:
        try:
            files = [folder, path] if path.is_file() else [folder]
            if all(acquire(_open(file, os.O_RDONLY, opened), shared=True) for file in files):
                return None
        except OSError as err:
            raise StorageError(f"{path}: {err.strerror}") from err
    return _read(path) or Holder(pid=0, host="unknown", since="unknown")


def _open(path: Path, flags: int, opened: ExitStack) -> int:
    descriptor = os.open(path, flags, 0o666)
    opened.callback(os.close, descriptor)
    return descriptor


def _take(descriptor: int) -> bool:
    """Lock it, waiting a second for whoever only looks."""
    for _ in range(_TRIES):
        if acquire(descriptor):
            return True
        sleep(_PAUSE_S)
    return False


def _read(path: Path) -> Holder | None:
    try:
        return Holder.from_json(path.read_bytes())
    except OSError:
        return None


def _check_same(folder: Path, held: int) -> None:
    if not _is_at(folder, held, follow_symlinks=True):
        raise StorageError(
            f"{folder}: the folder was moved or deleted while its study ran; the same command goes on with the "
            "folder's new name as `study`"
        )


class DeviceLease:
    """Held while a device times networks: across studies, commands, folders of results and users.

    Args:
        key: devices that disturb each other have the same.
        tell: told whom this process waits for, once for each holder.
        pause: waits for so many seconds; what it raises ends the waiting.
    """

    def __init__(self, key: str, *, tell: Callable[[str], None], pause: Callable[[float], None]) -> None:
        self._key, self._tell, self._pause = key, tell, pause
        self._told: set[int | None] = set()

    def held(self) -> AbstractContextManager[None]:
        """Waits until nobody else holds it, then holds it. Raises like `locked`."""
        return locked(device_lock_path(self._key), on_wait=self._waits, pause=self._pause)

    def _waits(self, holder: Holder | None) -> None:
        pid = None if holder is None else holder.pid
        if pid not in self._told:
            self._told.add(pid)
            self._tell(f"waiting for {holder or 'another process'}, which times a network on this computer")


def device_lock_path(key: str) -> Path:
    """In the temporary folder that all users share, whatever TMPDIR says; in this user's where that is closed."""
    shared = Path("/tmp")
    return (shared if os.access(shared, os.W_OK) else Path(gettempdir())) / f"mvit2-search-{key}.lock"


_POLL_S = 0.1


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
            _sign(descriptor)
        yield
    finally:
        if _is_at(path, descriptor, follow_symlinks=False):
            with suppress(OSError):  # left by a killed process of another user: only that user may delete it
                path.unlink()
        os.close(descriptor)


def _acquire_path(path: Path, on_wait: Callable[[Holder | None], None], pause: Callable[[float], None]) -> int:
    """A locked file that is still at `path`: its last holder may just have deleted it."""
    while True:
        with ExitStack() as opened:
            descriptor = _open_shared(path)
            opened.callback(os.close, descriptor)
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "it is no file")
            if not acquire(descriptor):
                on_wait(Holder.from_json(os.pread(descriptor, 1_000, 0)))
                while not acquire(descriptor):
                    pause(_POLL_S)  # a blocking flock would not end at a signal
            if _is_at(path, descriptor, follow_symlinks=False):
                opened.pop_all()
                return descriptor


def _open_shared(path: Path) -> int:
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
