"""A study as its driver has it: Optuna's study, so that every tool made for Optuna reads it.

| outcome    | Optuna state | what a sampler sees                                                 |
|------------|--------------|---------------------------------------------------------------------|
| Finished   | COMPLETE     | accuracy and latency; over the budget (a published width) also a violation |
| Infeasible | PRUNED       | no values, by how much the constraint is violated                   |
| Stopped    | PRUNED       | no values, the constraint is met                                    |
| Failed     | FAIL         | nothing                                                             |

Every trial carries its full record as JSON in a user attribute, written before its state.
"""

from __future__ import annotations

import json
import sqlite3
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvit2_search.arch import ArchConfig
from mvit2_search.errors import MeasurementError, MVit2SearchError, SpecError, StorageError
from mvit2_search.records import (
    SCHEMA,
    TOP1,
    Candidate,
    Control,
    Failed,
    Finished,
    FullTraining,
    Infeasible,
    Latency,
    Metric,
    Outcome,
    Probe,
    Published,
    Role,
    Score,
    Stopped,
    Trial,
)
from mvit2_search.records.codec import from_json, to_json
from mvit2_search.store.reader import StoredStudy
from mvit2_search.store.sqlite import PROBE, RECORD, Contents, Row, fact_name, is_damage, trial_name
from mvit2_search.store.storage import SqliteStorage, Storage
from mvit2_search.system.signals import Terminated

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

PUBLISHED, RETRY_OF = "published", "retry_of"  # user attributes of a trial

KeyOf = Callable[[Mapping[str, Any]], str]  # the key of the network that settings stand for

STATES: dict[type[Outcome], str] = {
    Finished: "COMPLETE",
    Infeasible: "PRUNED",
    Stopped: "PRUNED",
    Failed: "FAIL",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """A trial that was asked for and has no outcome yet."""

    number: int
    params: dict[str, Any]
    role: Role


class Study(StoredStudy):
    """A study that this process may write to, as it holds the folder's lease. It reads what was written last."""

    def __init__(self, folder: Path, storage: Storage, opened: RDBStorage, study: optuna.Study) -> None:
        super().__init__(folder, storage, Contents({}, []))
        self._opened = opened
        self._study = study
        self._study_id = opened.get_study_id_from_name(study.study_name)
        self._asked: dict[int, optuna.Trial] = {}

    def close(self) -> None:
        self._storage.close(self._opened)

    def back_up(self) -> None:
        """Bring the backup up to date, where the storage keeps one; raises StorageError if that fails."""
        self._storage.back_up()

    def check_seen(self, key_of: KeyOf) -> None:
        """Raises StorageError where a sampler would learn something else than the records say.

        Optuna keeps a network, a state and values of each trial beside its record.
        """
        records = {trial.number: trial for trial in self.trials()}
        for seen in self._frozen():
            if seen.number in records and not _agrees(seen, records[seen.number], key_of):
                raise self._storage.refusal(f"what the sampler reads of {trial_name(seen.number)} is damaged")

    def set_fact(self, name: str, fact: Any) -> None:
        """Keep a fact of a kind in `reader.FACTS`."""
        value = to_json(fact)
        with self._writing(fact_name(name), value):
            self._study.set_user_attr(name, value)

    def add_beside(self, trial: Trial) -> None:
        """Keep a published width or a random architecture, instead of what was kept of it."""
        match trial.role:
            case Published(name=name):
                self.set_fact(f"published:{name}", trial)
            case Control(index=index):
                self.set_fact(f"control:{index:06}", trial)

    def add_score(self, score: Score) -> None:
        self.set_fact(f"score:{score.subject}:{score.seed}", score)

    def add_training(self, training: FullTraining) -> None:
        self.set_fact(f"training:{training.name}", training)

    def ask(self, sampler: BaseSampler | None, distributions: Mapping[str, BaseDistribution]) -> Proposal:
        """The next queued trial, or a new one from the sampler, which only a queue can do without.

        Earlier proposals may still be without an outcome.
        """
        from optuna.samplers import RandomSampler

        with _translated(self._storage):
            self._study.sampler = sampler or RandomSampler()
            trial = self._study.ask(dict(distributions))
            self._asked[trial.number] = trial
            return _proposal(trial)

    def tell(self, trial: Trial, *, violations: Mapping[str, float]) -> None:
        """Give a trial its outcome.

        Args:
            violations: Optuna's constraints, above 0 where violated; only of a trial that this process asked for.
        """
        assert trial.number is not None
        record = to_json(trial)
        with self._writing(trial_name(trial.number), record):
            for name, amount in violations.items():
                self._asked[trial.number].set_constraint(name, amount)
            self._asked.pop(trial.number, None)
            self._set_attr(trial.number, RECORD, record)
            self._finish(trial)

    @contextmanager
    def probing(self, key: str) -> Iterator[None]:
        """Keep that the network `key` is being timed before one is chosen, until it is, or cannot be.

        Raises MeasurementError if the process was killed too often meanwhile.
        """
        if key in self.given_up_probes():
            raise MeasurementError("the search was stopped each time that it was timed")
        others = self.fact("probing") or {}
        self.set_fact("probing", {**others, key: others.pop(key, 0) + 1})
        try:
            yield
        except (MVit2SearchError, Terminated, KeyboardInterrupt):  # it was not killed
            with suppress(StorageError):
                self.set_fact("probing", others)
            raise
        self.set_fact("probing", others)

    def add_probe(self, arch: ArchConfig, latency: Latency) -> None:
        """Keep a latency that was asked for to choose the trial that is being asked for."""
        newest = self._frozen()[-1]
        count = sum(name.startswith(PROBE) for name in newest.user_attrs)
        with _translated(self._storage):
            self._set_attr(newest.number, f"{PROBE}{count}", to_json(Probe(arch=arch, latency=latency)))

    def unfinished(self) -> list[Proposal]:
        """The trials that a killed driver left open, after giving those with a record their outcome."""
        running = [trial for trial in self._frozen() if trial.state.name == "RUNNING"]
        with _translated(self._storage):
            for record in [trial.user_attrs[RECORD] for trial in running if RECORD in trial.user_attrs]:
                self._finish(from_json(record, Trial))
        return [_proposal(trial) for trial in running if RECORD not in trial.user_attrs]

    def abandon(self, number: int) -> None:
        """Close a trial that was killed before it had an architecture."""
        with _translated(self._storage):
            self._study.tell(number, state=_state("FAIL"))

    def queue(self, params: Mapping[str, Any], *, published: str | None = None) -> None:
        """Have a candidate of these settings asked for next, or the `published` width of that name."""
        marks = {} if published is None else {PUBLISHED: published}
        with _translated(self._storage):
            self._study.enqueue_trial(dict(params), user_attrs=marks)

    def queue_again(self, number: int) -> None:
        """Have the architecture of a closed trial asked for once more, unless it has been.

        A retry that was itself killed before it had an architecture does not count.
        """
        with _translated(self._storage):
            trials = self._frozen()
            retries = [t for t in trials if t.user_attrs.get(RETRY_OF) == number]
            if all(t.state.is_finished() and RECORD not in t.user_attrs for t in retries):
                kept = {k: v for k, v in trials[number].user_attrs.items() if k == PUBLISHED}
                self._study.enqueue_trial(trials[number].params, user_attrs={**kept, RETRY_OF: number})

    def queued(self) -> bool:
        """Whether the next trial comes from the queue."""
        return any(row.state == "WAITING" for row in self._rows())

    def _finish(self, trial: Trial) -> None:
        assert trial.number is not None
        self._study.tell(trial.number, _values(trial), state=_state(STATES[type(trial.outcome)]))

    def _set_attr(self, number: int, name: str, value: Any) -> None:
        trial_id = self._opened.get_trial_id_from_study_id_trial_number(self._study_id, number)
        self._opened.set_trial_user_attr(trial_id, name, value)

    @contextmanager
    def _writing(self, name: str, value: Any) -> Iterator[None]:
        text = json.dumps(value)  # as Optuna writes it
        with self._storage.writing(name, text), _translated(self._storage):
            yield

    def _frozen(self) -> list[FrozenTrial]:
        with _understood(self._storage):
            return self._study.get_trials(deepcopy=False)

    def _fact_texts(self) -> Mapping[str, str]:
        with self._storage.reading() as snapshot:
            return snapshot.facts()

    def _rows(self) -> Sequence[Row]:
        with self._storage.reading() as snapshot:
            return snapshot.rows()


def _agrees(seen: FrozenTrial, trial: Trial, key_of: KeyOf) -> bool:
    if (seen.state.name, seen.values) != (STATES[type(trial.outcome)], _values(trial)):
        return False
    try:
        return key_of(seen.params) == trial.arch.key
    except (KeyError, SpecError):
        return False


def _values(trial: Trial) -> list[float] | None:
    outcome = trial.outcome
    return [outcome.score, outcome.latency.latency_ms] if isinstance(outcome, Finished) else None


@contextmanager
def _translated(storage: Storage) -> Iterator[None]:
    """Turns what Optuna and SQLAlchemy raise of the database into StorageError."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError, sqlite3.DatabaseError) as err:
        cause = getattr(err.__cause__ or err, "orig", err.__cause__ or err)
        raise StorageError(f"{storage.name}: {' '.join(str(cause).split())}") from cause


@contextmanager
def _understood(storage: Storage) -> Iterator[None]:
    """The same, and what Optuna raises of rows that it did not write."""
    try:
        with _translated(storage):
            yield
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, AssertionError, StorageError) as err:
        if isinstance(err, StorageError) and not is_damage(err.__cause__):
            raise
        raise storage.refusal("what Optuna reads of it is damaged") from err


def _state(name: str) -> optuna.trial.TrialState:
    from optuna.trial import TrialState

    return TrialState[name]


def _proposal(trial: optuna.Trial | FrozenTrial) -> Proposal:
    name = trial.user_attrs.get(PUBLISHED)
    role = Candidate() if name is None else Published(name)
    return Proposal(number=trial.number, params=dict(trial.params), role=role)


def create_study(folder: Path, storage: Storage | None = None, *, metric: Metric = TOP1) -> Study:
    """The study in `folder`, or in `storage` if that is given; made if there is none. Hold `driver_lock(folder)`.

    Raises StorageError if what is there is no study of this version, is damaged, or cannot be written.
    """
    storage = storage or SqliteStorage(folder)
    contents = storage.read_checked()
    if contents is not None:
        StoredStudy(folder, storage, contents).check()
    with _understood(storage):
        try:
            opened = storage.open(contents)
        except RuntimeError as err:  # tables of another Optuna
            raise StorageError(f"{storage.name}: {err}") from err
        study = Study(folder, storage, opened, _optuna_study(opened, storage.study_name, folder.name, metric))
    if contents is None:
        study.set_fact("schema", SCHEMA)
    return study


def _optuna_study(opened: RDBStorage, name: str | None, new_name: str, metric: Metric) -> optuna.Study:
    """The one of that name; without one, the only one, or a new one."""
    import optuna
    from optuna.exceptions import ExperimentalWarning

    study = optuna.create_study(
        study_name=name or next((study.study_name for study in opened.get_all_studies()), new_name),
        storage=opened,
        directions=[metric.direction, "minimize"],
        load_if_exists=True,
    )
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        study.set_metric_names([metric.name, "latency_ms"])
    return study
