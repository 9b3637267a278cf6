"""What a driver is doing at the moment, for whoever asks: a small file that goes when the driver ends."""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from mvit2_search.errors import StorageError
from mvit2_search.system.files import write_atomically
from mvit2_search.system.locks import Holder


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
