"""What a study's database holds, by SQL: Optuna's own way takes ten times as long."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvit2_search.errors import StorageError
from mvit2_search.store.reading import reading

RECORD, BASELINE, RETRY_OF = "record", "baseline", "retry_of"  # user attributes of a trial
PROBE = "probe:"  # and what the names of others begin with, which a number follows
_OPTUNA_SCHEMA = 12  # of its tables, since 4.0
_TABLES = {"studies", "study_user_attributes", "trials", "trial_user_attributes", "version_info"}


@dataclass(frozen=True, slots=True)
class Row:
    """A trial: Optuna's state of it and its record as JSON, which it has from its outcome on."""

    number: int
    state: str
    record: str | None

    @property
    def is_closed(self) -> bool:
        return self.state not in ("RUNNING", "WAITING")


@dataclass(frozen=True, slots=True)
class Contents:
    """The facts of a study, as JSON by name, and its trials in order of number."""

    facts: Mapping[str, str]
    rows: Sequence[Row]

    @property
    def trials(self) -> int:
        """How many trials have a record."""
        return sum(row.record is not None for row in self.rows)

    @property
    def scores(self) -> int:
        return sum(name.startswith("score:") for name in self.facts)

    def texts(self) -> dict[str, str]:
        """Every record and every fact, by a name for people."""
        records = {trial_name(row.number): row.record for row in self.rows if row.record is not None}
        return records | {fact_name(name): text for name, text in self.facts.items()}


def trial_name(number: int) -> str:
    return f"trial {number}"


def fact_name(name: str) -> str:
    return f"fact {name}"


def read_facts(path: Path) -> dict[str, str]:
    with reading(path) as connection:
        return _facts(connection)


def read_rows(path: Path) -> list[Row]:
    with reading(path) as connection:
        return _rows(connection)


def read_probes(path: Path) -> list[tuple[int, str]]:
    """Trial numbers and latencies that were asked for to choose them, as JSON, in that order."""
    query = (
        "SELECT number, value_json FROM trials JOIN trial_user_attributes USING (trial_id) "
        "WHERE key LIKE ? ORDER BY number, key"
    )
    with reading(path) as connection:
        return connection.execute(query, (f"{PROBE}%",)).fetchall()


def read_settings(path: Path) -> dict[int, dict[str, Any]]:
    """What was chosen for each trial, by number."""
    from optuna.distributions import json_to_distribution

    query = "SELECT number, param_name, param_value, distribution_json FROM trials NATURAL JOIN trial_params"
    found: dict[int, dict[str, Any]] = {}
    with reading(path) as connection:
        for number, name, value, distribution in connection.execute(query):
            found.setdefault(number, {})[name] = json_to_distribution(distribution).to_external_repr(value)
    return found


def read_amount(path: Path) -> tuple[int, int]:
    """How many trials with a record and how many scores a database holds."""
    with reading(path) as connection:
        trials = connection.execute("SELECT count(*) FROM trial_user_attributes WHERE key = ?", (RECORD,))
        scores = connection.execute("SELECT count(*) FROM study_user_attributes WHERE key LIKE 'score:%'")
        return trials.fetchone()[0], scores.fetchone()[0]


def read_sound(path: Path) -> Contents | None:
    """Everything in the database, once SQLite has found nothing wrong with it.

    Returns:
        None where nothing of a study is in it yet.

    Raises:
        sqlite3.DatabaseError: it is damaged, or cannot be read.
        StorageError: it is sound, but no study of this program.
    """
    with reading(path) as connection:
        (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(" ".join(found.split()))
        if not _is_study(connection, path):
            return None
        contents = Contents(_facts(connection), _rows(connection))
    if "schema" in contents.facts:
        return contents
    if contents.rows:
        raise StorageError(f"{path}: an Optuna study that this program did not make")
    return None


def _is_study(connection: sqlite3.Connection, path: Path) -> bool:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables & _TABLES and tables:
        raise StorageError(f"{path}: a database of another program; choose another --study name")
    if tables < _TABLES:  # a driver was killed while it made them
        return False
    for (schema,) in connection.execute("SELECT schema_version FROM version_info"):
        if schema != _OPTUNA_SCHEMA:
            raise StorageError(f"{path}: tables of Optuna's schema {schema}, this version reads {_OPTUNA_SCHEMA}")
    names = [name for (name,) in connection.execute("SELECT study_name FROM studies ORDER BY study_id")]
    if len(names) > 1:
        listed = ", ".join(map(repr, names))
        raise StorageError(
            f"{path}: holds {len(names)} Optuna studies ({listed}), expected one; copy the file, then remove what "
            f"is too much: optuna delete-study --storage sqlite:///{path.absolute()} --study-name NAME"
        )
    return bool(names)


def _facts(connection: sqlite3.Connection) -> dict[str, str]:
    return dict(connection.execute("SELECT key, value_json FROM study_user_attributes"))


def _rows(connection: sqlite3.Connection) -> list[Row]:
    query = (
        "SELECT number, state, value_json FROM trials LEFT JOIN trial_user_attributes "
        "ON trial_user_attributes.trial_id = trials.trial_id AND key = ? ORDER BY number"
    )
    return [Row(*row) for row in connection.execute(query, (RECORD,))]
