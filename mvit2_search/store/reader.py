"""A study as it was when it was opened, for reading. Imports no Optuna: `status` is to answer at once."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

from mvit2_search.errors import SpecError
from mvit2_search.records.codec import NO_RECORD, parse
from mvit2_search.records.study import CertificateOf, Ended, Goals, Inputs, Limits, StudyDevice
from mvit2_search.records.training import FullTraining
from mvit2_search.records.trial import MOST_TRIES, ConfirmationPlan, Probe, Score, Trial
from mvit2_search.store.certificates import certificate_path
from mvit2_search.store.folders import check_study_name, is_study
from mvit2_search.store.sqlite import Contents, Row, fact_name, trial_name
from mvit2_search.store.storage import SqliteStorage, Storage

T = TypeVar("T")

FACTS: dict[str, Any] = {
    "schema": int,
    "inputs": Inputs,
    "versions": dict[str, str],
    "request": dict[str, Any],
    "goals": Goals,
    "devices": dict[str, StudyDevice],
    "accuracies_from": list[str],
    "certificate": CertificateOf | None,
    "ended": Ended | None,
    "finalists": ConfirmationPlan,
    "probing": dict[str, int],
    "published:": Trial,
    "control:": Trial,
    "score:": Score,
    "training:": FullTraining,
}
"""The kinds of a study's facts by name; those that end in a colon by how their names begin."""


class StoredStudy:
    """The trials and facts of one search. Facts hold for the whole study, such as its inputs and its devices.

    What is damaged raises StorageError when it is asked for.
    """

    def __init__(self, folder: Path, storage: Storage, contents: Contents) -> None:
        self.folder = folder
        self.name = folder.name  # it may have been renamed or copied
        self._storage = storage
        self._contents = contents
        self._trials: dict[str, Trial] = {}  # by record

    def fact(self, name: str) -> Any:
        """The fact of that name, a record of the kind in `FACTS`; None where there is none."""
        text = self._fact_texts().get(name)
        return None if text is None else self._parsed_fact(name, text)

    @property
    def inputs(self) -> Inputs:
        """What the study was made with."""
        return cast(Inputs, self.fact("inputs"))

    @property
    def devices(self) -> dict[str, StudyDevice]:
        """By name, the one that the search optimises first; empty until the first is timed on."""
        return self.fact("devices") or {}

    @property
    def device(self) -> StudyDevice:
        """The one that the search optimises."""
        return next(iter(self.devices.values()))

    @property
    def has_budget(self) -> bool:
        """Whether the budget is resolved: then there is something to read."""
        return bool(self.devices) and self.device.budget_ms is not None

    @property
    def limits(self) -> Limits:
        """The resolved budget."""
        assert self.device.budget_ms is not None
        return Limits(latency_ms=self.device.budget_ms, max_params=self.inputs.max_params)

    def check(self) -> None:
        """Raises StorageError where anything that is read is no record of its kind."""
        self.check_facts()
        self.trials()
        self.probes()

    def check_facts(self) -> None:
        """The same of facts alone."""
        self._facts("")
        texts = self._fact_texts()
        if "devices" in texts and "inputs" not in texts:
            raise self._storage.refusal(f"{fact_name('inputs')} is damaged")

    def trials(self) -> list[Trial]:
        """Every trial that has an outcome, in order of number."""
        rows = [row for row in self._rows() if row.is_closed]
        return [self._trial(row.number, row.record) for row in rows if row.record is not None]

    def lost_numbers(self) -> list[int]:
        """Trials that were killed before they had an architecture."""
        return [row.number for row in self._rows() if row.is_closed and row.record is None]

    def outside(self) -> list[Trial]:
        """Published widths that the space cannot express: records beside the trials."""
        return self._facts("published:")

    def all_trials(self) -> list[Trial]:
        """The trials and the published widths outside of the space: all that is compared."""
        return [*self.trials(), *self.outside()]

    def controls(self) -> list[Trial]:
        """Random architectures to compare the search with, in the order drawn: records beside the trials."""
        return self._facts("control:")

    def scores(self) -> list[Score]:
        """The confirmation's trainings so far."""
        return self._facts("score:")

    def trainings(self) -> list[FullTraining]:
        """Full trainings of its networks, the most accurate first."""
        return sorted(self._facts("training:"), key=lambda one: one.score, reverse=True)

    def plan(self) -> ConfirmationPlan | None:
        """What the confirmation trains, once it has begun."""
        return cast(ConfirmationPlan | None, self.fact("finalists"))

    def probes(self) -> dict[int, list[Probe]]:
        """By number of the trial, the latencies that were asked for to choose it, in that order."""
        found: dict[int, list[Probe]] = {}
        with self._storage.reading() as snapshot:
            texts = snapshot.probes()
        for number, text in texts:
            found.setdefault(number, []).append(self._parsed(f"a latency of {trial_name(number)}", text, Probe))
        return found

    def given_up_probes(self) -> list[str]:
        """Networks whose timing, before a trial was chosen, ended the search each time that it was tried."""
        tries = self.fact("probing") or {}
        return sorted(key for key, count in tries.items() if count >= MOST_TRIES)

    def settings(self) -> dict[int, dict[str, Any]]:
        """What was chosen for each trial, by number."""
        with self._sound("what was chosen for a trial"), self._storage.reading() as snapshot:
            return snapshot.settings()

    def _fact_texts(self) -> Mapping[str, str]:
        return self._contents.facts

    def _rows(self) -> Sequence[Row]:
        return self._contents.rows

    def _facts(self, prefix: str) -> list[Any]:
        texts = sorted(self._fact_texts().items())
        return [self._parsed_fact(name, text) for name, text in texts if name.startswith(prefix)]

    def _trial(self, number: int, record: str) -> Trial:
        """Parsed once: a report asks for all trials several times."""
        if record not in self._trials:
            self._trials[record] = self._parsed(trial_name(number), record, Trial)
        return self._trials[record]

    def _parsed_fact(self, name: str, text: str) -> Any:
        """One of a name that a later version added is any JSON."""
        prefix, colon, _ = name.partition(":")
        return self._parsed(fact_name(name), text, FACTS.get(prefix + colon, Any))

    def _parsed(self, name: str, text: str, kind: type[T]) -> T:
        with self._sound(name):
            return parse(text, kind)

    @contextmanager
    def _sound(self, name: str) -> Iterator[None]:
        try:
            yield
        except NO_RECORD as err:
            raise self._storage.refusal(f"{name} is damaged") from err


def open_study(folder: Path, storage: Storage | None = None) -> StoredStudy:
    """The study in `folder`, or in `storage` if that is given, as it is now; a driver may write to it.

    Raises:
        SpecError: there is no study, or nothing has been recorded yet.
        StorageError: it cannot be read, or is damaged; the message says what can be restored.
    """
    study = find_study(folder, storage)
    if study is None:
        raise SpecError(f"{folder}: this study has only just begun; there is nothing to read yet")
    return study


def find_study(folder: Path, storage: Storage | None = None) -> StoredStudy | None:
    """The same; None where a driver has taken the folder and recorded nothing yet."""
    storage = storage or SqliteStorage(folder)
    contents = storage.read_checked()
    if contents is not None:
        study = StoredStudy(folder, storage, contents)
        study.check_facts()
        return study
    if certificate_path(folder).exists():
        raise SpecError(
            f"{folder}: a certificate and no search; {certificate_path(folder).with_suffix('.html')} shows it"
        )
    if is_study(folder):
        return None
    raise SpecError(f"{folder}: no study here; {_remedy(folder.absolute().name)}")


def _remedy(name: str) -> str:
    try:
        check_study_name(name)
    except SpecError as err:
        return f"and none can be made: {err}"
    return f"`mvit2-search run` with `study` {name} makes one"
