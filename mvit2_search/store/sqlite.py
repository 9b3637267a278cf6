"""A study's SQLite file: writing that a kill cannot hurt, reading that changes no byte.

Optuna's tables are read by SQL here, as Optuna's own reading takes ten times as long.
"""

import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mvit2_search.errors import StorageError
from mvit2_search.records import SCHEMA

Query = Callable[..., Iterable[tuple[Any, ...]]]  # `query("SELECT :a", a=1)` gives the rows

RECORD, PROBE = "record", "probe:"  # user attributes of a trial; a number follows the latter
TABLES = {
    *("studies", "study_directions", "study_user_attributes"),
    *("trials", "trial_user_attributes", "version_info"),
}
_OPTUNA_SCHEMA = 12  # of its tables, since 4.0
_DIRECTIONS = ["MAXIMIZE", "MINIMIZE"]  # of the metric and the latency
_OPEN = ("RUNNING", "WAITING")
_STATES = {*_OPEN, "COMPLETE", "PRUNED", "FAIL"}


class Damage(Exception):
    """The tables hold what neither Optuna nor this program writes. A storage turns it into its own refusal."""


@dataclass(frozen=True, slots=True)
class Row:
    """A trial: Optuna's state of it and its record as JSON, which it has from its outcome on."""

    number: int
    state: str
    record: str | None

    @property
    def is_closed(self) -> bool:
        return self.state not in _OPEN


@dataclass(frozen=True, slots=True)
class Contents:
    """The facts of a study, as JSON by name, and its trials in order of number."""

    facts: Mapping[str, str]
    rows: Sequence[Row]

    @property
    def amount(self) -> tuple[int, int]:
        """How many trials have a record, and how many scores there are."""
        with_record = sum(row.record is not None for row in self.rows)
        return with_record, sum(name.startswith("score:") for name in self.facts)

    def texts(self) -> dict[str, str]:
        """Every record and every fact, by a name for people."""
        records = {trial_name(row.number): row.record for row in self.rows if row.record is not None}
        return records | {fact_name(name): text for name, text in self.facts.items()}


def trial_name(number: int) -> str:
    return f"trial {number}"


def fact_name(name: str) -> str:
    return f"fact {name}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One of the studies in Optuna's tables, at one moment. All methods raise Damage for what cannot be right."""

    query: Query
    study_id: int

    def facts(self) -> dict[str, str]:
        """JSON by name."""
        sql = "SELECT a.key, a.value_json FROM study_user_attributes a WHERE a.study_id = :study"
        found = self.query(sql, study=self.study_id)
        return {_text(name, "the name of a fact"): _text(text, fact_name(name)) for name, text in found}

    def rows(self) -> list[Row]:
        """The trials in order of number."""
        sql = (
            "SELECT t.number, t.state, a.value_json FROM trials t LEFT JOIN trial_user_attributes a "
            "ON a.trial_id = t.trial_id AND a.key = :key WHERE t.study_id = :study ORDER BY t.number"
        )
        return [
            Row(number, state, None if text is None else _text(text, trial_name(number)))
            for number, state, text in self.query(sql, key=RECORD, study=self.study_id)
        ]

    def probes(self) -> list[tuple[int, str]]:
        """Trial numbers and latencies that were asked for to choose them, as JSON, in that order."""
        sql = (
            "SELECT t.number, a.value_json FROM trials t JOIN trial_user_attributes a ON a.trial_id = t.trial_id "
            "WHERE a.key LIKE :key AND t.study_id = :study ORDER BY t.number, a.trial_user_attribute_id"
        )
        return [(number, text) for number, text in self.query(sql, key=f"{PROBE}%", study=self.study_id)]

    def settings(self) -> dict[int, dict[str, Any]]:
        """What was chosen for each trial, by number."""
        from optuna.distributions import json_to_distribution

        sql = (
            "SELECT t.number, p.param_name, p.param_value, p.distribution_json FROM trials t "
            "JOIN trial_params p ON p.trial_id = t.trial_id WHERE t.study_id = :study"
        )
        found: dict[int, dict[str, Any]] = {}
        for number, name, value, distribution in self.query(sql, study=self.study_id):
            found.setdefault(number, {})[name] = json_to_distribution(distribution).to_external_repr(value)
        return found

    def amount(self) -> tuple[int, int]:
        """The same as of `Contents`, without reading them."""
        trials = (
            "SELECT count(*) FROM trials t JOIN trial_user_attributes a ON a.trial_id = t.trial_id "
            "WHERE a.key = :key AND t.study_id = :study"
        )
        scores = "SELECT count(*) FROM study_user_attributes a WHERE a.key LIKE :key AND a.study_id = :study"
        ((with_record,),) = self.query(trials, key=RECORD, study=self.study_id)
        ((scored,),) = self.query(scores, key="score:%", study=self.study_id)
        return with_record, scored

    def contents(self, name: str) -> Contents | None:
        """All facts and trials, which fit together; None where nothing has been recorded yet.

        Raises StorageError, which begins with `name`, where it is no study of this version of the program.
        """
        contents = Contents(self.facts(), self.rows())
        if (schema := contents.facts.get("schema")) is None:
            if contents.rows:
                raise StorageError(f"{name}: an Optuna study that this program did not make")
            return None
        sql = "SELECT d.direction FROM study_directions d WHERE d.study_id = :study ORDER BY d.objective"
        if [direction for (direction,) in self.query(sql, study=self.study_id)] != _DIRECTIONS:
            raise Damage("the direction of an objective is damaged")
        _check_rows(contents.rows)
        if not schema.isdecimal():
            raise Damage(f"{fact_name('schema')} is damaged")
        if schema != str(SCHEMA):
            raise StorageError(f"{name}: records of schema {schema}, this version reads {SCHEMA}")
        return contents


def study_ids(query: Query, name: str) -> dict[str, int]:
    """The studies in a database, which has all `TABLES`, in the order in which they were made.

    Raises StorageError, which begins with `name`, where the tables are of another Optuna.
    """
    for (schema,) in query("SELECT schema_version FROM version_info"):
        if schema != _OPTUNA_SCHEMA:
            raise StorageError(f"{name}: tables of Optuna's schema {schema}, this version reads {_OPTUNA_SCHEMA}")
    return dict(query("SELECT study_name, study_id FROM studies ORDER BY study_id"))


def _check_rows(rows: Sequence[Row]) -> None:
    """Raises Damage for rows that nothing writes so; a kill leaves one RUNNING that has a record."""
    numbers = set()
    for row in rows:
        if row.number in numbers:
            raise Damage(f"{trial_name(row.number)} is there twice")
        if row.state not in _STATES:
            raise Damage(f"the state of {trial_name(row.number)} is damaged")
        if row.state == "WAITING" and row.record is not None:
            raise Damage(f"{trial_name(row.number)} has a record and has yet to begin")
        numbers.add(row.number)


def _text(value: Any, name: str) -> str:
    """Raises Damage for bytes and NULL, which SQLite keeps in a column of texts too."""
    if not isinstance(value, str):
        raise Damage(f"{name} is no text")
    return value


_BUSY_SECONDS = 60
_UNWRITABLE = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)  # SQLite wants files of its own beside a database


def connect(path: Path) -> sqlite3.Connection:
    """For Optuna, which begins its transactions with `begin`. The log keeps what a killed process wrote."""
    connection = sqlite3.connect(path.absolute(), timeout=_BUSY_SECONDS, check_same_thread=False)
    connection.isolation_level = None  # sqlite3's own BEGIN would come first
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection


def begin(connection: Any) -> None:
    """Take the write lock at once.

    Optuna reads before it writes in one transaction: two that both hold read locks would refuse each other.
    """
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def merge_log(path: Path) -> None:
    """Make it one file, which can be read where nothing can be written; not while somebody reads it."""
    with suppress(sqlite3.OperationalError):
        uri = f"{path.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=1)) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that sees the database as it is at one moment, also where nothing can be written.

    Raises sqlite3.DatabaseError where there is no database, or it is damaged or cannot be read.
    """
    with ExitStack() as opened:
        connection = _open(path, opened)
        connection.execute("BEGIN")
        yield connection


@contextmanager
def snapshot(path: Path) -> Iterator[Snapshot]:
    """The study in the database at one moment; raises StorageError, too, where there is none."""
    with reading(path) as connection:
        query = _query(connection)
        study_id = _study_id(query, path)
        if study_id is None:
            raise StorageError(f"{path}: holds no study")
        yield Snapshot(query, study_id)


def read_sound(path: Path) -> Contents | None:
    """Everything in the database, once SQLite has found nothing wrong with it; None where no study is in it yet.

    Raises DatabaseError of sqlite3, Damage, or StorageError where it is sound but no study of this program.
    """
    with reading(path) as connection:
        query = _query(connection)
        ((found,),) = query("PRAGMA integrity_check(1)")
        if found != "ok":
            raise Damage(" ".join(found.split()))
        tables = {name for (name,) in query("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables & TABLES and tables:
            raise StorageError(f"{path}: a database of another program; choose another `study` name")
        if not tables >= TABLES:  # a driver was killed while it made them
            return None
        study_id = _study_id(query, path)
        return None if study_id is None else Snapshot(query, study_id).contents(str(path))


def _query(connection: sqlite3.Connection) -> Query:
    return lambda sql, **values: connection.execute(sql, values)


def _study_id(query: Query, path: Path) -> int | None:
    """The only one's, whatever its name: the folder may have been renamed since."""
    ids = study_ids(query, str(path))
    if len(ids) > 1:
        raise StorageError(
            f"{path}: holds {len(ids)} Optuna studies ({', '.join(map(repr, ids))}), expected one; copy the file, "
            "then remove what is too much: optuna delete-study "
            f"--storage sqlite:///{path.absolute()} --study-name NAME"
        )
    return next(iter(ids.values()), None)


def _open(path: Path, opened: ExitStack) -> sqlite3.Connection:
    try:
        return _connect(path, "mode=ro", opened)
    except sqlite3.OperationalError as err:
        if err.sqlite_errorcode & 0xFF not in _UNWRITABLE:
            raise
    if not (logs := logs_of(path)):
        return _connect(path, "mode=ro&immutable=1", opened)
    folder = Path(opened.enter_context(TemporaryDirectory(prefix="mvit2-search-")))
    for file in (path, *logs):
        shutil.copyfile(file, folder / file.name)
    return _connect(folder / path.name, "mode=rw", opened)


def _connect(path: Path, mode: str, opened: ExitStack) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?{mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)
    opened.enter_context(closing(connection))
    connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # connecting alone opens nothing
    return connection


def logs_of(path: Path) -> list[Path]:
    """What SQLite keeps beside a database that was not closed: changes that are not in it yet."""
    files = [path.with_name(f"{path.name}-{kind}") for kind in ("wal", "journal")]
    return [file for file in files if file.is_file() and file.stat().st_size]


def is_damage(err: BaseException | None) -> bool:
    """Whether what is in a file is wrong, and not the disk, a permission, or who else has it open."""
    code = getattr(err, "sqlite_errorcode", sqlite3.SQLITE_ERROR)  # what Python itself finds wrong has none
    is_operational = isinstance(err, sqlite3.OperationalError) and code & 0xFF != sqlite3.SQLITE_ERROR
    return isinstance(err, sqlite3.DatabaseError) and not is_operational
