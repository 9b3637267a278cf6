"""Leases: one driver per study, one process at a time per device; and what a driver is doing.

Both are locks on files, which the operating system frees however their holder ends, and which say who that is.

- A study: a second driver is refused. Its folder is locked, and stays so when it is renamed or files in it are
  deleted; and `driver.lock` in it, as network disks tell other computers only of locks on files.
- A device: a second process waits. A file that all users of this computer share is locked.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import gettempdir

from mvit2_search.errors import StorageError, StudyConflict
from mvit2_search.system.files import write_atomically
from mvit2_search.system.locks import Holder, acquire, check_supported, locked


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


def activity_path(folder: Path) -> Path:
    """The file in a study's folder."""
    return folder / "progress.json"


def write_activity(folder: Path, activity: Activity) -> None:
    """Say what is done now. A full disk is no reason to stop here: what matters more will meet it."""
    with suppress(StorageError):
        write_atomically(activity_path(folder), json.dumps(asdict(activity)))


def forget_activity(folder: Path) -> None:
    with suppress(OSError):
        activity_path(folder).unlink()


def read_activity(folder: Path, holder: Holder | None) -> Activity | None:
    """What `holder` does; None where nobody runs the study, whatever a killed driver left."""
    try:
        activity = Activity(**json.loads(activity_path(folder).read_text(encoding="utf-8")))
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
            os.ftruncate(file, 0)
            os.write(file, Holder.here().to_json().encode())
        except OSError as err:
            raise StorageError(f"{path}: {err.strerror}; choose another folder for `results`") from err
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
        time.sleep(_PAUSE_S)
    return False


def _read(path: Path) -> Holder | None:
    try:
        return Holder.from_json(path.read_bytes())
    except OSError:
        return None


def _check_same(folder: Path, held: int) -> None:
    try:
        same = os.path.samestat(folder.stat(), os.fstat(held))
    except OSError:
        same = False
    if not same:
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

    @contextmanager
    def held(self) -> Iterator[None]:
        """Wait until nobody else holds it, and hold it.

        Raises:
            BackendUnavailable: this system has no such locks.
            StorageError: the lock's file cannot be made or opened.
        """
        with locked(device_lock_path(self._key), on_wait=self._waits, pause=self._pause):
            yield

    def _waits(self, holder: Holder | None) -> None:
        pid = None if holder is None else holder.pid
        if pid not in self._told:
            self._told.add(pid)
            self._tell(f"waiting for {holder or 'another process'}, which times a network on this computer")


def device_lock_path(key: str) -> Path:
    """In the temporary folder that all users share, whatever TMPDIR says; in this user's where that is closed."""
    shared = Path("/tmp")
    return (shared if os.access(shared, os.W_OK) else Path(gettempdir())) / f"mvit2-search-{key}.lock"
