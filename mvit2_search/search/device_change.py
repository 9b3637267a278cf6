"""A study that was begun on another device: refused, or set aside for one that starts anew."""

from itertools import count
from pathlib import Path

from mvit2_search.errors import StorageError, StudyConflict
from mvit2_search.records import Passport
from mvit2_search.results_folder import OTHER_DEVICES
from mvit2_search.store import Study, driver_lock, find_study, open_study


def refuse_other_device(study: Study, here: Passport) -> None:
    """Raises StudyConflict, with each difference, where the study's latencies are of another device."""
    if differences := here.differences(study.passport):
        raise StudyConflict(
            f"study {study.name!r} has latencies of another device: {'; '.join(differences)}; go on where it was "
            "started, use another --study name, or add --allow-device-change: it is set aside, and a new study "
            "keeps its accuracies and times every network anew"
        )


def is_of_another_device(folder: Path, here: Passport) -> bool:
    """Whether there is a study in `folder` that has latencies of another device."""
    if not (folder / "study.db").is_file():
        return False
    study = find_study(folder)
    return study is not None and study.fact("passport") is not None and bool(here.differences(study.passport))


def set_aside(folder: Path, here: Passport) -> Path | None:
    """Move the study in `folder`, which is there, away if it was begun on another device.

    Returns:
        Where it is now, under its own name so that every command still reads it; None where nothing was moved.

    Raises:
        StudyConflict: a driver holds it.
        StorageError: it cannot be moved.
    """
    with driver_lock(folder):
        if not is_of_another_device(folder, here):
            return None
        study = open_study(folder)
        target = _free_folder(folder.parent / OTHER_DEVICES / study.passport.digest) / folder.name
        try:
            target.parent.mkdir(parents=True)
            folder.rename(target)
        except OSError as err:
            raise StorageError(f"{target}: cannot move the study there: {err.strerror}") from err
    return target


def set_aside_before(folder: Path) -> list[Path]:
    """The studies that were set aside for the one in `folder`, the one that was written to last first."""
    found = (folder.parent / OTHER_DEVICES).glob(f"*/{folder.name}/study.db")
    return [path.parent for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)]


def _free_folder(folder: Path) -> Path:
    names = (folder.with_name(f"{folder.name}-{i}") if i > 1 else folder for i in count(1))
    return next(name for name in names if not name.exists())
