"""A search's records, kept as an Optuna study so that every tool made for Optuna reads it.

| outcome    | Optuna state | what a sampler sees                                                 |
|------------|--------------|---------------------------------------------------------------------|
| Finished   | COMPLETE     | accuracy and latency; over the budget (a baseline) also a violation |
| Infeasible | PRUNED       | no values, by how much the constraint is violated                   |
| Stopped    | PRUNED       | no values, the constraint is met                                    |
| Failed     | FAIL         | nothing                                                             |

Every trial carries its full record as JSON in a user attribute, written before its state.
"""

import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from mvit2_search.arch import ArchConfig
from mvit2_search.errors import MeasurementError, SpecError, StorageError
from mvit2_search.records import (
    MOST_TRIES,
    SCHEMA,
    Failed,
    Finished,
    Infeasible,
    Latency,
    Outcome,
    Passport,
    Score,
    Stopped,
    Trial,
    latency_from_json,
    latency_to_json,
)
from mvit2_search.store.sqlite import database_path, open_storage, translated
from mvit2_search.verdict import Limits

_STATES: dict[type[Outcome], TrialState] = {
    Finished: TrialState.COMPLETE,
    Infeasible: TrialState.PRUNED,
    Stopped: TrialState.PRUNED,
    Failed: TrialState.FAIL,
}
_RECORD, _BASELINE, _RETRY_OF, _PROBE, _PROBING = "record", "baseline", "retry_of", "probe:", "probing:"


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """A trial that was asked for and has no outcome yet."""

    number: int
    params: dict[str, Any]
    baseline: str | None


class Study:
    """The trials and facts of one search.

    Facts are named JSON values that hold for the whole study: its inputs, the resolved budget, the
    device's passport. Only the driver, which holds the study's lock, may write.
    """

    def __init__(self, folder: Path, storage: RDBStorage, study: optuna.Study) -> None:
        self.folder = folder
        self._path = database_path(folder)
        self._storage = storage
        self._study = study
        self._study_id = storage.get_study_id_from_name(study.study_name)
        self._asked: dict[int, optuna.Trial] = {}

    @property
    def name(self) -> str:
        return self.folder.name

    def close(self) -> None:
        """Bring everything into the one file `study.db`; the study is not used any more."""
        self._storage.engine.dispose()

    def fact(self, name: str) -> Any:
        """The fact of that name, or None."""
        with translated(self._path):
            return self._study.user_attrs.get(name)

    def set_fact(self, name: str, value: Any) -> None:
        with translated(self._path):
            self._study.set_user_attr(name, value)

    @property
    def passport(self) -> Passport:
        return Passport(**self.fact("passport"))

    @property
    def limits(self) -> Limits:
        """The resolved budget."""
        return Limits(latency_ms=self.fact("budget_ms"), max_params=self.fact("inputs")["max_params"])

    def trials(self) -> list[Trial]:
        """Every trial that has an outcome, in order of number."""
        closed = [t.user_attrs for t in self._frozen() if t.state.is_finished()]
        return [Trial.from_json(attrs[_RECORD]) for attrs in closed if _RECORD in attrs]

    def lost_numbers(self) -> list[int]:
        """Trials that were killed before they had an architecture."""
        return [t.number for t in self._frozen() if t.state.is_finished() and _RECORD not in t.user_attrs]

    def outside(self) -> list[Trial]:
        """Published widths that the space cannot express: records beside the trials, numbered -1."""
        return [Trial.from_json(row) for row in self._facts("outside:")]

    def add_outside(self, trial: Trial) -> None:
        self.set_fact(f"outside:{trial.baseline}", trial.to_json())

    def controls(self) -> list[Trial]:
        """Random architectures to compare the search with, in the order drawn: records beside the trials."""
        return [Trial.from_json(row) for row in self._facts("control:")]

    def add_control(self, index: int, trial: Trial) -> None:
        self.set_fact(f"control:{index:06}", trial.to_json())

    def scores(self) -> list[Score]:
        """The confirmation's trainings so far."""
        return [Score.from_json(row) for row in self._facts("score:")]

    def add_score(self, score: Score) -> None:
        self.set_fact(f"score:{score.subject}:{score.seed}", score.to_json())

    def ask(self, sampler: BaseSampler | None, distributions: Mapping[str, BaseDistribution]) -> Proposal:
        """The next queued trial, or a new one from the sampler, which only a queue can do without."""
        with translated(self._path):
            self._study.sampler = sampler or RandomSampler()
            trial = self._study.ask(dict(distributions))
            self._asked = {trial.number: trial}
            return _proposal(trial.number, trial.params, trial.user_attrs)

    def tell(self, trial: Trial, *, violations: Mapping[str, float]) -> None:
        """Give a trial its outcome. `violations` are Optuna constraints: above 0 is not allowed.
        They can be given only by the process that asked for the trial.
        """
        with translated(self._path):
            for name, amount in violations.items():
                self._asked[trial.number].set_constraint(name, amount)
            trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, trial.number)
            self._storage.set_trial_user_attr(trial_id, _RECORD, trial.to_json())
            self._finish(trial)

    def begin_probe(self, key: str) -> None:
        """Keep with the trial that is being asked for, the newest one, that the network `key` is now timed.

        Raises:
            MeasurementError: this process ended so often while it was.
        """
        if key in self.given_up_probes():
            raise MeasurementError("the search was stopped each time that it was timed")
        self._attach(f"{_PROBING}{key}", True)

    def given_up_probes(self) -> list[str]:
        """Networks that were to be timed before one was chosen, and never were although it was tried often."""
        names = [name for t in self._frozen() for name in t.user_attrs if name.startswith(_PROBING)]
        often = [name.removeprefix(_PROBING) for name, tries in Counter(names).items() if tries >= MOST_TRIES]
        timed = {arch.key for probes in self.probes().values() for arch, _ in probes} if often else set()
        return sorted(set(often) - timed)

    def add_probe(self, arch: ArchConfig, latency: Latency) -> None:
        """Keep a latency that was asked for to choose the trial that is being asked for."""
        count = sum(name.startswith(_PROBE) for name in self._frozen()[-1].user_attrs)
        self._attach(f"{_PROBE}{count}", {"arch": arch.to_json(), **latency_to_json(latency)})

    def _attach(self, name: str, value: Any) -> None:
        with translated(self._path):
            newest = self._study.get_trials(deepcopy=False)[-1].number
            trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, newest)
            self._storage.set_trial_user_attr(trial_id, name, value)

    def probes(self) -> dict[int, list[tuple[ArchConfig, Latency | None]]]:
        """By number of the trial, what `add_probe` has kept, in that order."""
        rows = {
            t.number: [row for name, row in sorted(t.user_attrs.items()) if name.startswith(_PROBE)]
            for t in self._frozen()
        }
        return {
            number: [(ArchConfig.from_json(row["arch"]), latency_from_json(row)) for row in probes]
            for number, probes in rows.items()
            if probes
        }

    def unfinished(self) -> list[Proposal]:
        """The trials that a killed driver left open, after giving those with a record their outcome."""
        with translated(self._path):
            for row in [t.user_attrs[_RECORD] for t in self._frozen() if _is_open(t) and _RECORD in t.user_attrs]:
                self._finish(Trial.from_json(row))
            return [_proposal(t.number, t.params, t.user_attrs) for t in self._frozen() if _is_open(t)]

    def abandon(self, number: int) -> None:
        """Close a trial that was killed before it had an architecture."""
        with translated(self._path):
            self._study.tell(number, state=TrialState.FAIL)

    def queue_baseline(self, name: str, params: Mapping[str, Any]) -> None:
        """Have the published width `name` asked for next."""
        with translated(self._path):
            self._study.enqueue_trial(dict(params), user_attrs={_BASELINE: name})

    def queue_again(self, number: int) -> None:
        """Have the architecture of a closed trial asked for once more, unless it has been.

        A retry that was itself killed before it had an architecture does not count.
        """
        with translated(self._path):
            trials = self._frozen()
            retries = [t for t in trials if t.user_attrs.get(_RETRY_OF) == number]
            if all(t.state.is_finished() and _RECORD not in t.user_attrs for t in retries):
                kept = {k: v for k, v in trials[number].user_attrs.items() if k == _BASELINE}
                self._study.enqueue_trial(trials[number].params, user_attrs={**kept, _RETRY_OF: number})

    def queue(self, params: Mapping[str, Any]) -> None:
        """Have a candidate of these settings asked for next."""
        with translated(self._path):
            self._study.enqueue_trial(dict(params))

    def settings(self) -> dict[int, dict[str, Any]]:
        """What was chosen for each trial, by number."""
        return {t.number: dict(t.params) for t in self._frozen()}

    def queued(self) -> bool:
        """Whether the next trial comes from the queue."""
        return any(t.state == TrialState.WAITING for t in self._frozen())

    def _finish(self, trial: Trial) -> None:
        values = None
        if isinstance(trial.outcome, Finished):
            values = (trial.outcome.accuracy_pct, trial.outcome.latency.latency_ms)
        self._study.tell(trial.number, values, state=_STATES[type(trial.outcome)])

    def _frozen(self) -> list[FrozenTrial]:
        with translated(self._path):
            return self._study.get_trials(deepcopy=False)

    def _facts(self, prefix: str) -> list[Any]:
        with translated(self._path):
            return [value for name, value in sorted(self._study.user_attrs.items()) if name.startswith(prefix)]


def _is_open(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.RUNNING


def _proposal(number: int, params: Mapping[str, Any], attrs: Mapping[str, Any]) -> Proposal:
    return Proposal(number=number, params=dict(params), baseline=attrs.get(_BASELINE))


def create_study(folder: Path) -> Study:
    """The study in `folder`, made if there is none. Hold `driver_lock(folder)` meanwhile.

    Raises:
        StorageError: the file there is no study of this version, or cannot be written.
    """
    path = database_path(folder)
    storage = open_storage(path)
    with translated(path):
        study = optuna.create_study(
            study_name=folder.name, storage=storage, directions=["maximize", "minimize"], load_if_exists=True
        )
        with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
            study.set_metric_names(["accuracy_pct", "latency_ms"])
        if "schema" not in study.user_attrs:
            if study.get_trials(deepcopy=False):
                raise StorageError(f"{path}: an Optuna study that this program did not make")
            study.set_user_attr("schema", SCHEMA)
    return _checked(Study(folder, storage, study))


def open_study(folder: Path) -> Study:
    """The study in `folder`, for reading, also while a driver writes to it.

    Raises:
        SpecError: there is no study.
        StorageError: the file there cannot be read.
    """
    path = database_path(folder)
    if not path.is_file():
        raise SpecError(f"{folder}: no study here; `mvit2-search run --study {folder.name} ...` makes one")
    storage = open_storage(path, read_only=True)
    with translated(path):
        try:
            study = optuna.load_study(study_name=folder.name, storage=storage)
        except KeyError as err:
            raise StorageError(f"{path}: holds no study named {folder.name!r}; was the folder renamed?") from err
    return _checked(Study(folder, storage, study))


def _checked(study: Study) -> Study:
    schema = study.fact("schema")
    if schema is None:
        raise SpecError(f"{study.folder}: this study has only just begun; there is nothing to read yet")
    if schema != SCHEMA:
        raise StorageError(f"{study.folder}: records of schema {schema}, this version reads {SCHEMA}")
    return study
