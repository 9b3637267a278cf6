"""A study that was begun on another device: refused, or set aside for one that keeps its accuracies.

A study that was begun on another device: refused, or set aside for one that starts anew.

Accuracies of studies that were set aside because the device changed: they do not depend on the device.

A training follows from the architecture, the images, the settings and the seed. Where these are equal, its
accuracies are taken over, while every latency is measured anew.
"""

from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from mvit2_search.errors import StorageError, StudyConflict
from mvit2_search.records import Failed, Finished, Inputs, Outcome, Passport, Stopped, Trial
from mvit2_search.records.codec import to_json
from mvit2_search.store import StoredStudy, Study, driver_lock, find_study, open_study
from mvit2_search.store.folders import OTHER_DEVICES
from mvit2_search.system.text import counted, flat
from mvit2_search.train.proxies import EpochScore


def refuse_other_device(study: Study, here: Passport) -> None:
    """Raises StudyConflict, with each difference, where the study's latencies are of another device."""
    if differences := here.differences(study.device.passport):
        raise StudyConflict(
            f"study {study.name!r} has latencies of another device: {'; '.join(differences)}; go on where it was "
            "started, use another --study name, or add --allow-device-change: it is set aside, and a new study "
            "keeps its accuracies and times every network anew"
        )


def is_of_another_device(folder: Path, here: Passport) -> bool:
    """Whether there is a study in `folder` that has latencies of another device."""
    if not (folder / "study.db").is_file():
        return False
    study = find_study(folder)
    return study is not None and bool(study.devices) and bool(here.differences(study.device.passport))


def set_aside(folder: Path, here: Passport) -> Path | None:
    """Move the study in `folder`, which is there, away if it was begun on another device.

    Returns:
        Where it is now, under its own name so that every command still reads it; None where nothing was moved.

    Raises:
        StudyConflict: a driver holds it.
        StorageError: it cannot be moved.
    """
    with driver_lock(folder):
        if not is_of_another_device(folder, here):
            return None
        study = open_study(folder)
        target = _free_folder(folder.parent / OTHER_DEVICES / study.device.passport.digest) / folder.name
        try:
            target.parent.mkdir(parents=True)
            folder.rename(target)
        except OSError as err:
            raise StorageError(f"{target}: cannot move the study there: {err.strerror}") from err
    return target


def set_aside_before(folder: Path) -> list[Path]:
    """The studies that were set aside for the one in `folder`, the one that was written to last first."""
    found = (folder.parent / OTHER_DEVICES).glob(f"*/{folder.name}/study.db")
    return [path.parent for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)]


def _free_folder(folder: Path) -> Path:
    names = (folder.with_name(f"{folder.name}-{i}") if i > 1 else folder for i in count(1))
    return next(name for name in names if not name.exists())


HOLDING = ("space", "data", "seed", "training")  # inputs that accuracies and architectures depend on
_LABELS = ("space.name", "data.name")


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """The scores after each epoch of a training; `whole` unless it was stopped."""

    scores: tuple[EpochScore, ...]
    whole: bool
    source: str  # in words


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptAccuracies:
    """What other studies know of this one's trainings.

    Attributes:
        curves: by architecture.
        scores: of the confirmation, by architecture and seed.
        candidates: settings of the trained candidates, in the order in which they were trained, by architecture.
    """

    curves: dict[str, Curve] = field(default_factory=dict)
    scores: dict[tuple[str, int], EpochScore] = field(default_factory=dict)
    candidates: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, study: StoredStudy, inputs: Inputs) -> None:
        """What a study knows, if it was made with the same images, trainings, seed and space.

        Raises:
            StorageError: a record in it is damaged; nothing of it is added.
        """
        if _holding(study.inputs) != _holding(inputs):
            return
        trials, params, scores = study.trials(), study.settings(), study.scores()
        for trial in [*study.outside(), *study.controls(), *trials]:
            if isinstance(trial.outcome, Finished | Stopped) and trial.repeats is None:
                known = self.curves.get(trial.arch.key)
                if known is None or not known.whole:
                    self.curves[trial.arch.key] = _curve(trial, study)
        for trial in trials:
            if trial.is_trained_candidate:
                self.candidates.setdefault(trial.arch.key, params[trial.number or 0])
        for score in scores:
            if not isinstance(score.result, Failed):
                kept = EpochScore(epoch=1, accuracy_pct=score.result, balanced_pct=score.balanced)
                self.scores.setdefault((score.subject, score.seed), kept)

    def sentence(self) -> str:
        """What may be taken over, in words."""
        if not self.curves:
            return "nothing is kept, as nothing was trained there with these images, training, seed and space"
        trained = len(self.curves.keys() - self.candidates.keys())
        candidates, others = counted(len(self.candidates), "candidate"), counted(trained, "other network")
        return (
            f"the accuracies of {candidates} and {others}, and "
            f"{counted(len(self.scores), 'score')} of the confirmation, are kept; every network is timed anew"
        )

    def source(self, arch_key: str, outcome: Outcome) -> str | None:
        """Where the accuracies of an outcome come from, if it was not trained."""
        curve = self.curves.get(arch_key)
        if curve is None or not isinstance(outcome, Finished | Stopped):
            return None
        begun = tuple(score.accuracy_pct for score in curve.scores[: len(outcome.curve)])
        return curve.source if begun == outcome.curve else None


def _curve(trial: Trial, study: StoredStudy) -> Curve:
    assert isinstance(trial.outcome, Finished | Stopped)
    name = trial.accuracy_from or f"{trial.name} in {study.folder}"
    scores = [EpochScore(epoch=i, accuracy_pct=pct) for i, pct in enumerate(trial.outcome.curve, start=1)]
    if isinstance(trial.outcome, Finished):
        scores[-1] = replace(scores[-1], balanced_pct=trial.outcome.balanced)
    return Curve(scores=tuple(scores), whole=isinstance(trial.outcome, Finished), source=name)


def _holding(inputs: Inputs) -> dict[str, Any]:
    held = {name: value for name, value in to_json(inputs).items() if name in HOLDING}
    return {key: value for key, value in flat(held) if key not in _LABELS}
