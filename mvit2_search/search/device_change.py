"""A study that was begun on another device: refused, or set aside for a new one that keeps its accuracies.

Accuracies depend on the architecture, the images, the training and the seed, and not on the device. Where these
are equal they are taken over, while every latency is measured anew.
"""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import chain, count
from pathlib import Path
from typing import Any

from mvit2_search.errors import SpecError, StorageError, StudyConflict
from mvit2_search.records import Failed, Finished, Inputs, Outcome, Passport, Score, Stopped
from mvit2_search.search.events import Listener
from mvit2_search.search.request import compared, refuse_changes
from mvit2_search.store import StoredStudy, Study, driver_lock, find_study, open_study
from mvit2_search.store.folders import OTHER_DEVICES
from mvit2_search.system.text import counted

_HOLDING = ("space", "data", "seed", "training")  # inputs that accuracies and architectures depend on


def refuse_other_device(study: Study, here: Passport) -> None:
    """Raises StudyConflict, which names each difference, where the study's latencies are of another device."""
    if differences := here.differences(study.device.passport):
        raise StudyConflict(
            f"study {study.name!r} has latencies of another device: {'; '.join(differences)}; go on where it was "
            "started, use another `study` name, or add `allow_device_change`: it is set aside, and a new study "
            "keeps its accuracies and times every network anew"
        )


def set_aside(folder: Path, here: Passport, asked: Callable[[], Inputs]) -> Path | None:
    """Move the study in `folder` away if it was begun on another device: `asked` are the inputs of the next one.

    Returns:
        Where it is now, under its own name, so that every command still reads it; None where nothing was moved.

    Raises:
        StudyConflict: its accuracies do not hold for what is asked, or a driver holds it.
        StorageError: it cannot be moved.
    """
    if not _is_of_another_device(folder, here):
        return None
    study, inputs = open_study(folder), asked()
    refuse_changes(study, replace(study.inputs, **{name: getattr(inputs, name) for name in _HOLDING}))
    with driver_lock(folder):
        return _move(folder) if _is_of_another_device(folder, here) else None


def _is_of_another_device(folder: Path, here: Passport) -> bool:
    if not (folder / "study.db").is_file():
        return False
    study = find_study(folder)
    return study is not None and bool(study.devices) and bool(here.differences(study.device.passport))


def _move(folder: Path) -> Path:
    digest, others = open_study(folder).device.passport.digest, folder.parent / OTHER_DEVICES
    names = chain([digest], (f"{digest}-{i}" for i in count(2)))
    target = next(others / name for name in names if not (others / name).exists()) / folder.name
    try:
        target.parent.mkdir(parents=True)
        folder.rename(target)
    except OSError as err:
        raise StorageError(f"{target}: cannot move the study there: {err.strerror}") from err
    return target


def set_aside_before(folder: Path) -> list[Path]:
    """The studies that were set aside for the one in `folder`, the one written last first."""
    found = (folder.parent / OTHER_DEVICES).glob(f"*/{folder.name}/study.db")
    return [path.parent for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)]


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptAccuracies:
    """What other studies know of this one's trainings.

    Attributes:
        outcomes, sources: by architecture, what came of its training, and where that is recorded, in words.
        scores: of the confirmation, by architecture and seed.
        candidates: by architecture, the settings of the trained candidates in the order of their trainings.
    """

    outcomes: dict[str, Finished | Stopped] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    scores: dict[tuple[str, int], Score] = field(default_factory=dict)
    candidates: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, study: StoredStudy, inputs: Inputs) -> None:
        """Add what a study knows, if its images, training, seed and space are those of `inputs`.

        Raises:
            StorageError: a record in it is damaged; nothing of it is added.
        """
        if _holding(study.inputs) != _holding(inputs):
            return
        trials, params, scores = study.trials(), study.settings(), study.scores()
        for trial in [*study.outside(), *study.controls(), *trials]:
            key, outcome = trial.arch.key, trial.outcome
            known = isinstance(self.outcomes.get(key), Finished)
            if isinstance(outcome, Finished | Stopped) and trial.repeats is None and not known:
                self.outcomes[key] = outcome
                self.sources[key] = trial.accuracy_from or f"{trial.name} in {study.folder}"
        for trial in trials:
            if trial.is_trained_candidate:
                self.candidates.setdefault(trial.arch.key, params[trial.number or 0])
        for score in scores:
            if not isinstance(score.result, Failed):
                self.scores.setdefault((score.subject, score.seed), score)

    def sentence(self) -> str:
        """What may be taken over, in words."""
        if not self.outcomes:
            return "nothing is kept, as nothing was trained there with these images, training, seed and space"
        trained = len(self.outcomes.keys() - self.candidates.keys())
        candidates, others = counted(len(self.candidates), "candidate"), counted(trained, "other network")
        return (
            f"the accuracies of {candidates} and {others}, and "
            f"{counted(len(self.scores), 'score')} of the confirmation, are kept; every network is timed anew"
        )

    def source(self, arch_key: str, outcome: Outcome) -> str | None:
        """Where the accuracies of an outcome come from; None if it was trained."""
        kept = self.outcomes.get(arch_key)
        if kept is None or not isinstance(outcome, Finished | Stopped):
            return None
        return self.sources[arch_key] if kept.curve[: len(outcome.curve)] == outcome.curve else None


def kept_accuracies(study: Study, results: Path, listener: Listener) -> KeptAccuracies:
    """What holds of the studies that were set aside for this one; the listener is told what and from where."""
    kept, inputs, there = KeptAccuracies(), study.inputs, []
    for folder in [results / name for name in study.fact("accuracies_from") or []]:
        if not (folder / "study.db").is_file():
            listener.note(f"{folder} is gone: what was trained there is trained again")
            continue
        try:
            kept.add(open_study(folder), inputs)
            there.append(str(folder))
        except (SpecError, StorageError):
            listener.note(
                f"{folder} cannot be read: what was trained there is trained again; "
                f"`mvit2-search status {shlex.quote(str(folder))}` says what can be restored"
            )
    if there:
        listener.note(f"{', '.join(there)}: {kept.sentence()}")
    return kept


def _holding(inputs: Inputs) -> dict[str, Any]:
    return {key: value for key, value in compared(inputs).items() if key.partition(".")[0] in _HOLDING}
