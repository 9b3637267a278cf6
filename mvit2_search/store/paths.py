"""Where a study's database and its backup are."""

from pathlib import Path


def database_path(folder: Path) -> Path:
    """The study's database in its folder."""
    return folder / "study.db"


def backup_path(folder: Path) -> Path:
    """A copy of the database, as it was a few trials ago."""
    return folder / "study.backup.db"
