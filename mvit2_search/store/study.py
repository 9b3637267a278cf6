"""A search's records, kept as an Optuna study so that every tool made for Optuna reads it.

| outcome    | Optuna state | what a sampler sees                                                 |
|------------|--------------|---------------------------------------------------------------------|
| Finished   | COMPLETE     | accuracy and latency; over the budget (a published width) also a violation |
| Infeasible | PRUNED       | no values, by how much the constraint is violated                   |
| Stopped    | PRUNED       | no values, the constraint is met                                    |
| Failed     | FAIL         | nothing                                                             |

Every trial carries its full record as JSON in a user attribute, written before its state.

What Optuna keeps of each trial beside its record: a sampler learns from that, so the two have to agree.
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
    Candidate,
    Control,
    Failed,
    Finished,
    Infeasible,
    Latency,
    Outcome,
    Probe,
    Published,
    Role,
    Score,
    Stopped,
    Trial,
)
from mvit2_search.records.codec import from_json, to_json
from mvit2_search.store.contents import (
    PROBE,
    PUBLISHED,
    RECORD,
    RETRY_OF,
    Contents,
    Row,
    fact_name,
    read_facts,
    read_rows,
    trial_name,
)
from mvit2_search.store.folders import database_path
from mvit2_search.store.integrity import Digests, back_up, read_checked, unreadable
from mvit2_search.store.sqlite import close_storage, is_damage, open_storage, translated
from mvit2_search.store.stored import StoredStudy
from mvit2_search.system.signals import Terminated

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

KeyOf = Callable[[Mapping[str, Any]], str]  # the key of the network that settings stand for

STATES: dict[type[Outcome], str] = {
    Finished: "COMPLETE",
    Infeasible: "PRUNED",
    Stopped: "PRUNED",
    Failed: "FAIL",
}


def seen_otherwise(frozen: Sequence[FrozenTrial], trials: Sequence[Trial], key_of: KeyOf) -> list[int]:
    """The numbers of the trials of which Optuna has another network, state or values than the record."""
    records = {trial.number: trial for trial in trials}
    return [
        one.number for one in frozen if one.number in records and not _agrees(one, records[one.number], key_of)
    ]


def _agrees(seen: FrozenTrial, trial: Trial, key_of: KeyOf) -> bool:
    outcome, state = trial.outcome, seen.state.name
    told = [outcome.score, outcome.latency.latency_ms] if isinstance(outcome, Finished) else None
    return state == STATES[type(outcome)] and seen.values == told and _key(seen.params, key_of) == trial.arch.key


def _key(settings: Mapping[str, Any], key_of: KeyOf) -> str | None:
    try:
        return key_of(settings)
    except (KeyError, SpecError):
        return None


_ODD = (ValueError, KeyError, TypeError, IndexError, AttributeError, AssertionError)


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """A trial that was asked for and has no outcome yet."""

    number: int
    params: dict[str, Any]
    role: Role


class Study(StoredStudy):
    """A study as its driver has it, who holds its lock: what is read is what was written last."""

    def __init__(self, folder: Path, storage: RDBStorage, study: optuna.Study) -> None:
        super().__init__(folder, Contents({}, []))
        self._path = database_path(folder)
        self._storage = storage
        self._study = study
        self._study_id = storage.get_study_id_from_name(study.study_name)
        self._digests = Digests(folder)
        self._asked: dict[int, optuna.Trial] = {}

    def close(self) -> None:
        """Bring everything into the one file `study.db`; the study is not used any more."""
        close_storage(self._storage, self._path)

    def back_up(self) -> None:
        """Bring `study.backup.db` up to date; raises StorageError where that cannot be done."""
        back_up(self.folder)

    def check_seen(self, key_of: KeyOf) -> None:
        """Raises StorageError where a sampler would learn something else than the records say."""
        if differing := seen_otherwise(self._frozen(), self.trials(), key_of):
            raise unreadable(self.folder, f"what the sampler reads of trial {differing[0]}")

    def set_fact(self, name: str, fact: Any) -> None:
        """Keep a fact of a kind in `contents.FACTS`."""
        value = to_json(fact)
        text = json.dumps(value)  # as Optuna writes it
        self._digests.coming(fact_name(name), text)
        with translated(self._path):
            self._study.set_user_attr(name, value)
        self._digests.written(fact_name(name), text)

    def add_beside(self, trial: Trial) -> None:
        """Keep a published width or a random architecture, instead of what was kept of it."""
        match trial.role:
            case Published(name=name):
                self.set_fact(f"published:{name}", trial)
            case Control(index=index):
                self.set_fact(f"control:{index:06}", trial)

    def add_score(self, score: Score) -> None:
        self.set_fact(f"score:{score.subject}:{score.seed}", score)

    def ask(self, sampler: BaseSampler | None, distributions: Mapping[str, BaseDistribution]) -> Proposal:
        """The next queued trial, or a new one from the sampler, which only a queue can do without."""
        from optuna.samplers import RandomSampler

        with translated(self._path):
            self._study.sampler = sampler or RandomSampler()
            trial = self._study.ask(dict(distributions))
            self._asked[trial.number] = trial
            return _proposal(trial.number, trial.params, trial.user_attrs)

    def tell(self, trial: Trial, *, violations: Mapping[str, float]) -> None:
        """Give a trial its outcome. `violations` are Optuna constraints: above 0 is not allowed.
        They can be given only by the process that asked for the trial.
        """
        assert trial.number is not None
        record = to_json(trial)
        text = json.dumps(record)  # as Optuna writes it
        self._digests.coming(trial_name(trial.number), text)
        with translated(self._path):
            for name, amount in violations.items():
                self._asked[trial.number].set_constraint(name, amount)
            self._asked.pop(trial.number, None)
            trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, trial.number)
            self._storage.set_trial_user_attr(trial_id, RECORD, record)
            self._finish(trial)
        self._digests.written(trial_name(trial.number), text)

    @contextmanager
    def probing(self, key: str) -> Iterator[None]:
        """Keep that the network `key` is being timed before one is chosen, until it is, or cannot be.

        Raises:
            MeasurementError: this process was killed so often meanwhile.
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
        with translated(self._path):
            trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, newest.number)
            kept = to_json(Probe(arch=arch, latency=latency))
            self._storage.set_trial_user_attr(trial_id, f"{PROBE}{count}", kept)

    def unfinished(self) -> list[Proposal]:
        """The trials that a killed driver left open, after giving those with a record their outcome."""
        with translated(self._path):
            for row in [t.user_attrs[RECORD] for t in self._frozen() if _is_open(t) and RECORD in t.user_attrs]:
                self._finish(from_json(row, Trial))
            return [_proposal(t.number, t.params, t.user_attrs) for t in self._frozen() if _is_open(t)]

    def abandon(self, number: int) -> None:
        """Close a trial that was killed before it had an architecture."""
        with translated(self._path):
            self._study.tell(number, state=_state("FAIL"))

    def queue_published(self, name: str, params: Mapping[str, Any]) -> None:
        """Have the published width `name` asked for next."""
        with translated(self._path):
            self._study.enqueue_trial(dict(params), user_attrs={PUBLISHED: name})

    def queue_again(self, number: int) -> None:
        """Have the architecture of a closed trial asked for once more, unless it has been.

        A retry that was itself killed before it had an architecture does not count.
        """
        with translated(self._path):
            trials = self._frozen()
            retries = [t for t in trials if t.user_attrs.get(RETRY_OF) == number]
            if all(t.state.is_finished() and RECORD not in t.user_attrs for t in retries):
                kept = {k: v for k, v in trials[number].user_attrs.items() if k == PUBLISHED}
                self._study.enqueue_trial(trials[number].params, user_attrs={**kept, RETRY_OF: number})

    def queue(self, params: Mapping[str, Any]) -> None:
        """Have a candidate of these settings asked for next."""
        with translated(self._path):
            self._study.enqueue_trial(dict(params))

    def queued(self) -> bool:
        """Whether the next trial comes from the queue."""
        return any(row.state == "WAITING" for row in self._rows())

    def _finish(self, trial: Trial) -> None:
        values = None
        if isinstance(trial.outcome, Finished):
            values = (trial.outcome.score, trial.outcome.latency.latency_ms)
        assert trial.number is not None
        self._study.tell(trial.number, values, state=_state(STATES[type(trial.outcome)]))

    def _frozen(self) -> list[FrozenTrial]:
        with _understood(self._path):
            return self._study.get_trials(deepcopy=False)

    def _fact_texts(self) -> Mapping[str, str]:
        with translated(self._path):
            return read_facts(self._path)

    def _rows(self) -> Sequence[Row]:
        with translated(self._path):
            return read_rows(self._path)


@contextmanager
def _understood(path: Path) -> Iterator[None]:
    """Turns what the database says, and what Optuna raises of odd rows, into `StorageError`."""
    try:
        with translated(path):
            yield
    except _ODD as err:
        raise unreadable(path.parent, "what Optuna reads of it") from err
    except StorageError as err:
        if isinstance(err.__cause__, sqlite3.DatabaseError) and is_damage(err.__cause__):
            raise unreadable(path.parent, "what Optuna reads of it") from err
        raise


def _state(name: str) -> optuna.trial.TrialState:
    from optuna.trial import TrialState

    return TrialState[name]


def _is_open(trial: FrozenTrial) -> bool:
    return trial.state.name == "RUNNING"


def _proposal(number: int, params: Mapping[str, Any], attrs: Mapping[str, Any]) -> Proposal:
    name = attrs.get(PUBLISHED)
    role = Candidate() if name is None else Published(name)
    return Proposal(number=number, params=dict(params), role=role)


def create_study(folder: Path) -> Study:
    """The study in `folder`, made if there is none. Hold `driver_lock(folder)` meanwhile.

    Raises:
        StorageError: what is there is no study of this version, is damaged, or cannot be written.
    """
    path = database_path(folder)
    if path.is_symlink():
        raise StorageError(
            f"{path}: a link to {path.readlink()}, where another driver would not be noticed; copy the study here"
        )
    contents = read_checked(folder)
    if contents is not None:
        _check_all(StoredStudy(folder, contents))
    storage = open_storage(path)
    with _understood(path):
        study = Study(folder, storage, _optuna_study(folder, storage))
    if contents is None:
        study.set_fact("schema", SCHEMA)
    else:
        Digests(folder).rewrite(contents.texts())
    return study


def _check_all(study: StoredStudy) -> None:
    """Raises StorageError where anything that will be read is damaged, before anything is written."""
    study.check_facts()
    study.trials()
    study.probes()


def _optuna_study(folder: Path, storage: RDBStorage) -> optuna.Study:
    """The only one in the database, whatever its name: the folder may have been renamed since."""
    import optuna
    from optuna.exceptions import ExperimentalWarning

    names = [study.study_name for study in storage.get_all_studies()]
    study = optuna.create_study(
        study_name=names[0] if names else folder.name,
        storage=storage,
        directions=["maximize", "minimize"],
        load_if_exists=True,
    )
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        study.set_metric_names(["accuracy_pct", "latency_ms"])
    return study
