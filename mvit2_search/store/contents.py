"""What a study's database holds, by SQL: Optuna's own way takes ten times as long."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvit2_search.errors import StorageError
from mvit2_search.records import ConfirmationPlan, Ended, Goals, Inputs, Score, StudyDevice, Trial
from mvit2_search.store.sqlite import reading

FACTS: dict[str, Any] = {
    "schema": int,
    "inputs": Inputs,
    "versions": dict[str, str],
    "request": dict[str, Any],
    "goals": Goals,
    "devices": dict[str, StudyDevice],
    "accuracies_from": list[str],
    "ended": Ended | None,
    "finalists": ConfirmationPlan,
    "probing": dict[str, int],
    "published:": Trial,
    "control:": Trial,
    "score:": Score,
}
"""The kinds of a study's facts by name; those that end in a colon by how their names begin."""


def fact_kind(name: str) -> Any:
    """The kind of the fact of that name; anything where a later version wrote one of its own."""
    prefix, colon, _ = name.partition(":")
    return FACTS.get(prefix + colon, Any)


RECORD, PUBLISHED, RETRY_OF = "record", "published", "retry_of"  # user attributes of a trial
PROBE = "probe:"  # and what the names of others begin with, which a number follows
_OPTUNA_SCHEMA = 12  # of its tables, since 4.0
_TABLES = {
    *("studies", "study_directions", "study_user_attributes"),
    *("trials", "trial_user_attributes", "version_info"),
}
_DIRECTIONS = ["MAXIMIZE", "MINIMIZE"]  # of accuracy and latency
_STATES = {"RUNNING", "WAITING", "COMPLETE", "PRUNED", "FAIL"}


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
        directions = connection.execute("SELECT direction FROM study_directions ORDER BY objective").fetchall()
    if "schema" not in contents.facts:
        if contents.rows:
            raise StorageError(f"{path}: an Optuna study that this program did not make")
        return None
    if [direction for (direction,) in directions] != _DIRECTIONS:
        raise sqlite3.DatabaseError("the direction of an objective is damaged")
    _check_rows(contents.rows)
    return contents


def _check_rows(rows: Sequence[Row]) -> None:
    """Raises DatabaseError for rows that nothing writes so; a kill leaves one RUNNING that has a record."""
    numbers = set()
    for row in rows:
        if row.number in numbers:
            raise sqlite3.DatabaseError(f"{trial_name(row.number)} is there twice")
        if row.state not in _STATES:
            raise sqlite3.DatabaseError(f"the state of {trial_name(row.number)} is damaged")
        if row.state == "WAITING" and row.record is not None:
            raise sqlite3.DatabaseError(f"{trial_name(row.number)} has a record and has yet to begin")
        numbers.add(row.number)


def _is_study(connection: sqlite3.Connection, path: Path) -> bool:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables & _TABLES and tables:
        raise StorageError(f"{path}: a database of another program; choose another `study` name")
    if not tables >= _TABLES:  # a driver was killed while it made them
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
    found = connection.execute("SELECT key, value_json FROM study_user_attributes")
    return {_text(name, "the name of a fact"): _text(text, fact_name(name)) for name, text in found}


def _rows(connection: sqlite3.Connection) -> list[Row]:
    query = (
        "SELECT number, state, value_json FROM trials LEFT JOIN trial_user_attributes "
        "ON trial_user_attributes.trial_id = trials.trial_id AND key = ? ORDER BY number"
    )
    found = connection.execute(query, (RECORD,))
    return [
        Row(number, state, None if text is None else _text(text, trial_name(number)))
        for number, state, text in found
    ]


def _text(value: Any, name: str) -> str:
    """Raises DatabaseError for bytes and NULL, which SQLite keeps in a column of texts too."""
    if not isinstance(value, str):
        raise sqlite3.DatabaseError(f"{name} is no text")
    return value
