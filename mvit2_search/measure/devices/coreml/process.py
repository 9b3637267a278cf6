"""A Python process that works in a temporary folder of its own, which is removed after it.

Task and answer are files in that folder, `task.json` and `answer.json`: what libraries print cannot be taken for
an answer.
"""

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

from mvit2_search.errors import MeasurementError, StorageError

TASK, ANSWER = "task.json", "answer.json"
_PREFIX = "mvit2-coreml-"  # then the id of the process that made the folder


@contextmanager
def own_folder(needed_bytes: int) -> Iterator[Path]:
    """A new temporary folder.

    At the end it is removed, and so is all in the system's temporary folders whose name begins with its name.

    Raises:
        StorageError: it cannot be made, or less than `needed_bytes` are free there.
    """
    _remove_abandoned()
    parent = Path(tempfile.gettempdir())
    try:
        free = shutil.disk_usage(parent).free
        if free < needed_bytes:
            raise StorageError(
                f"{parent}: {free / 1e6:.0f} MB free, but timing with Core ML needs {needed_bytes / 1e6:.0f} MB "
                "for compiled networks; make room, or set TMPDIR to a larger disk"
            )
        folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent))
    except OSError as err:
        raise StorageError(f"{parent}: cannot make a temporary folder: {err}") from err
    try:
        yield folder
    finally:
        for path in _named(folder.name):
            shutil.rmtree(path, ignore_errors=True)


def run_worker(
    arguments: Sequence[str],
    folder: Path,
    task: Mapping[str, Any],
    *,
    environment: Mapping[str, str],
    deadline_s: float,
) -> Any:
    """Run `python -P ARGUMENTS FOLDER` and return its answer. The process never outlives the call.

    With -P, nothing is imported from the current folder.

    Raises:
        MeasurementError: it died, hung or gave no answer.
        StorageError: it could not be started.
    """
    with _started([sys.executable, "-P", *arguments, str(folder)], folder, task, environment) as process:
        try:
            status = process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise MeasurementError(f"Core ML gave no answer within {deadline_s:g} s and was stopped") from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError, PermissionError):  # macOS: not permitted once it is a zombie
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    errors = folder / "errors"
    if status:
        ended = f"ended with exit code {status}" if status > 0 else f"was ended by {signal.Signals(-status).name}"
        raise MeasurementError(f"Core ML's process {ended}: {_last_line(errors)}")
    try:
        return json.loads((folder / ANSWER).read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise MeasurementError(f"Core ML's process gave no answer: {_last_line(errors)}") from err


def _started(
    command: list[str], folder: Path, task: Mapping[str, Any], environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    try:
        (folder / TASK).write_text(json.dumps(task), encoding="utf-8")
        with (folder / "printed").open("wb") as printed, (folder / "errors").open("wb") as errors:
            return subprocess.Popen(
                command,
                env={**os.environ, **environment},
                stdin=subprocess.PIPE,  # closes when this process ends, however it does: `end_with_parent`
                stdout=printed,
                stderr=errors,
                start_new_session=True,  # Ctrl-C reaches it through us alone, and its group can be killed
            )
    except OSError as err:
        raise StorageError(f"{folder}: cannot start a process there: {err}") from err


def end_with_parent() -> None:
    """Called in a worker: it ends, with all that it has started, as soon as the process that started it ends."""

    def wait() -> None:
        os.read(sys.stdin.fileno(), 1)
        if os.getpgid(0) == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    Thread(target=wait, daemon=True).start()


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def _remove_abandoned() -> None:
    """Remove the folders of processes that have ended without doing so, such as killed ones."""
    for path in _named(_PREFIX):
        made_by = path.name.removeprefix(_PREFIX).partition("-")[0]
        if made_by.isdigit() and not _is_running(int(made_by)):
            shutil.rmtree(path, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError as err:  # others than the first: it is another user's
        return not isinstance(err, ProcessLookupError)
    return True


def _named(beginning: str) -> list[Path]:
    places = [place for root in _temporary_roots() for place in (root, *root.glob("TemporaryItems/*"))]
    return [path for place in places for path in place.glob(f"{beginning}*")]


def _temporary_roots() -> set[Path]:
    """TMPDIR, and on macOS the user's own folder, which some system libraries take whatever TMPDIR says."""
    roots = {Path(tempfile.gettempdir()).resolve()}
    if platform.system() == "Darwin":
        asked = subprocess.run(["getconf", "DARWIN_USER_TEMP_DIR"], capture_output=True, text=True)
        roots |= {Path(line).resolve() for line in asked.stdout.split("\n") if line}
    return roots
