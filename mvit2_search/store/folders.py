"""Names in a folder of results, where every other folder is a study, and of files in a study's folder."""

import os
import re
from pathlib import Path

from mvit2_search.errors import SpecError

LATENCIES = ".latencies"  # measurements shared by all that a results folder holds
BENCH = "bench"  # what benchmarks write
EXPORTS = "exports"  # architectures exported by their own names; also a folder in each study
OTHER_DEVICES = "other-devices"  # studies set aside
TEACHERS = ".teachers"  # what networks said of training images, shared by all trainings
SHARED = ".shared"  # weights that the networks of a search inherit
DECODED = ".decoded"  # images as pixels, shared by all studies and trainings
USED = (LATENCIES, BENCH, EXPORTS, OTHER_DEVICES, TEACHERS, SHARED, DECODED)
_OF_A_STUDY = ("study.db", "study.backup.db", "driver.lock")
_TEXTS = {".log", ".out", ".err", ".txt", ".md", ".json", ".yaml", ".csv", ".html", ".digests"}  # by their endings
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,62}[A-Za-z0-9_-])?")
_WINDOWS = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # devices in every folder there


def check_study_name(name: str) -> None:
    """Raises SpecError for a name that is no safe folder name, or is used otherwise."""
    if not _NAME.fullmatch(name):
        raise SpecError(
            f"study {name[:80]!r}: expected up to 64 letters, digits, '.', '_' and '-', "
            "starting with a letter, a digit or '_' and not ending with '.'; "
            "a study's folder that is called otherwise has to be renamed"
        )
    if name.lower() in USED:
        raise SpecError(f"study {name!r}: the program keeps something else in that folder; choose another name")
    if _WINDOWS.fullmatch(name):
        raise SpecError(f"study {name!r}: Windows makes no folder of that name; choose another one")


def is_study(folder: Path) -> bool:
    """Whether a study is or was kept there."""
    return any(os.path.lexists(folder / name) for name in _OF_A_STUDY)


def _may_stay(path: Path) -> bool:
    """Whether it disturbs no study: a log, or what is left of another study in that place."""
    return path.name == EXPORTS or (path.suffix.lower() in _TEXTS and path.is_file())


def check_new_name(results: Path, name: str) -> None:
    """Raises SpecError where a study of this name cannot be in `results`.

    The folder may hold something else, which would be taken for a part of the study. Or its name differs from
    another one's by case alone, and some disks take the two for one.
    """
    there = [path.name for path in results.iterdir()] if results.is_dir() else []
    folder = results / name
    if not is_study(folder) and (others := [path.name for path in folder.glob("[!.]*") if not _may_stay(path)]):
        raise SpecError(f"study {name!r}: {folder} is no study, it holds {min(others)}; choose another name")
    alike = [other for other in there if other.lower() == name.lower()]
    if alike and name not in alike:
        raise SpecError(f"study {name!r}: {results} holds {alike[0]!r}, and some disks take both for one name")


def database_path(folder: Path) -> Path:
    """The study's database in its folder."""
    return folder / "study.db"


def backup_path(folder: Path) -> Path:
    """A copy of the database, as it was a few trials ago."""
    return folder / "study.backup.db"
