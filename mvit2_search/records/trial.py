"""What became of a candidate, of a training of the confirmation, and of what failed too often.

What became of a candidate. Written once, never edited; failures are rows too.

The confirmation: which finalists are trained again with fresh seeds, and their scores on unseen images.

What a search does without: said in the same words while it runs, by `status` and in the report.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from mvit2_search.arch import PUBLISHED_WIDTHS, ArchConfig, published_name
from mvit2_search.records.latency import Latency, accuracy_fault, latency_fault, latency_from_json, latency_to_json


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """Timed and trained to the end."""

    accuracy_pct: float  # top-1 on all selection images, 0-100
    curve_pct: tuple[float, ...]  # after each epoch; all but the last on fewer images
    latency: Latency
    balanced_pct: float | None = None  # the mean over the classes, where they are unbalanced


@dataclass(frozen=True, kw_only=True, slots=True)
class Infeasible:
    """Over the budget: timed, never trained."""

    latency: Latency


@dataclass(frozen=True, kw_only=True, slots=True)
class Stopped:
    """Training ended early, as the study's stopping rule said."""

    curve_pct: tuple[float, ...]
    latency: Latency


_WIDTHS = [published_name(width) for width in PUBLISHED_WIDTHS]

INTERRUPTED = "interrupted"
ACCURACY_FROM = "accuracy_from"  # in a trial's provenance
MOST_TRIES = 3  # of what ran each time that the driver ended, and of a published width that failed


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """No result. `reason` is one word such as `interrupted`, `training`, `measurement`."""

    reason: str
    message: str


Outcome = Finished | Infeasible | Stopped | Failed

_KINDS: dict[str, type[Outcome]] = {
    "finished": Finished,
    "infeasible": Infeasible,
    "stopped": Stopped,
    "failed": Failed,
}


def outcome_name(outcome: Outcome) -> str:
    """`finished`, `infeasible`, `stopped` or `failed`."""
    return type(outcome).__name__.lower()


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One attempt at one architecture.

    `from_json(trial.to_json()) == trial`.

    Attributes:
        params, macs: parameters and multiply-adds of one image, with the head for the study's classes.
        baseline: the name of the published width that this trial is, `control 7` for the random architecture of
            that number, or None for a candidate.
        repeats: the number of the trial whose outcome this one takes over, as the architecture is the same.
        tries: how often the architecture was begun in this role, this attempt included.
        provenance: what is needed to do it again, besides the study's own inputs.
    """

    number: int
    arch: ArchConfig
    outcome: Outcome
    params: int
    macs: int
    seed: int
    seconds: float
    baseline: str | None = None
    repeats: int | None = None
    tries: int = 1
    provenance: dict[str, str]

    @property
    def name(self) -> str:
        """For people: the published width's name, or `trial 12`."""
        return self.baseline or f"trial {self.number}"

    @property
    def is_trained_candidate(self) -> bool:
        """Whether it counts among the candidates that a search was asked to train."""
        return isinstance(self.outcome, Finished | Stopped) and self.baseline is None and self.repeats is None

    @property
    def accuracy_from(self) -> str | None:
        """The trial of another study whose accuracies were taken over."""
        return self.provenance.get(ACCURACY_FROM)

    @property
    def is_published_width(self) -> bool:
        return self.baseline in _WIDTHS

    @property
    def is_given_up(self) -> bool:
        """Whether it would be tried again, had it not been tried so often."""
        return self._is_open and self.tries >= MOST_TRIES

    @property
    def may_be_tried_again(self) -> bool:
        """Interrupted, or a published width or a random architecture that failed: the verdict needs those."""
        return self._is_open and self.tries < MOST_TRIES

    @property
    def _is_open(self) -> bool:
        failed = self.outcome if isinstance(self.outcome, Failed) else None
        return failed is not None and (self.baseline is not None or failed.reason == INTERRUPTED)

    @property
    def latency(self) -> Latency | None:
        """The latency, which all but a failed trial have."""
        return None if isinstance(self.outcome, Failed) else self.outcome.latency

    def to_json(self) -> dict[str, Any]:
        outcome = {"kind": outcome_name(self.outcome), **asdict(self.outcome)}
        if not isinstance(self.outcome, Failed):
            del outcome["latency"]
            outcome |= latency_to_json(self.outcome.latency)
        return asdict(self) | {"arch": self.arch.to_json(), "outcome": outcome}

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Self:
        return cls(**row | {"arch": ArchConfig.from_json(row["arch"]), "outcome": _outcome(row["outcome"])})


def _outcome(row: dict[str, Any]) -> Outcome:
    kind = _KINDS[row["kind"]]
    values = {k: v for k, v in row.items() if k not in ("kind", "measurement", "prediction")}
    if kind is not Failed:
        values["latency"] = latency_from_json(row)
    if "curve_pct" in values:
        values["curve_pct"] = tuple(values["curve_pct"])
    return _plausible(kind(**values))


def _plausible(outcome: Outcome) -> Outcome:
    """What was recorded before numbers were checked may be none, and is read as the failure that it was."""
    if isinstance(outcome, Failed):
        return outcome
    if fault := latency_fault(outcome.latency):
        return Failed(reason="measurement", message=fault)
    accuracies = [] if isinstance(outcome, Infeasible) else [*outcome.curve_pct]
    accuracies += [outcome.accuracy_pct] if isinstance(outcome, Finished) else []
    faults = [fault for fault in map(accuracy_fault, accuracies) if fault]
    return Failed(reason="training", message=faults[0]) if faults else outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """One training of one finalist, scored on the confirmation images; `tries` is how often it was begun."""

    subject: str  # architecture key
    seed: int
    result: float | Failed  # top-1 in percent
    balanced_pct: float | None = None  # the mean over the classes, where they are unbalanced
    tries: int = 1

    @property
    def is_given_up(self) -> bool:
        """Whether it failed so often that it is not tried again."""
        return isinstance(self.result, Failed) and self.tries >= MOST_TRIES

    @property
    def may_be_tried_again(self) -> bool:
        return isinstance(self.result, Failed) and not self.is_given_up

    @property
    def is_unfinished(self) -> bool:
        """Whether it runs, or was cut off and is begun again."""
        return self.may_be_tried_again and isinstance(self.result, Failed) and self.result.reason == INTERRUPTED

    def to_json(self) -> dict[str, Any]:
        result = (
            {"failed": asdict(self.result)} if isinstance(self.result, Failed) else {"accuracy_pct": self.result}
        )
        rest = {"balanced_pct": self.balanced_pct, "tries": self.tries}
        return {"subject": self.subject, "seed": self.seed, **result, **rest}

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Self:
        result = Failed(**row["failed"]) if "failed" in row else row["accuracy_pct"]
        if not isinstance(result, Failed) and (fault := accuracy_fault(result)):
            result = Failed(reason="training", message=fault)
        rest = {"balanced_pct": row.get("balanced_pct"), "tries": row.get("tries", 1)}
        return cls(subject=row["subject"], seed=row["seed"], result=result, **rest)


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfirmationPlan:
    """What is trained again, as long as nothing is told apart from the best.

    Attributes:
        keys: architectures of the finalists among the candidates; no other candidate is compared.
        widths: architectures of the published widths around the budget.
        seeds: of the trainings.
        candidates: how many had been trained when the finalists were chosen.
    """

    keys: tuple[str, ...]
    widths: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    candidates: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Self:
        """Of an early version, which kept the keys alone, too: such a choice is made anew."""
        lists = {name: tuple(row.get(name, ())) for name in ("keys", "widths", "seeds")}
        return cls(**lists, candidates=row.get("candidates", 0))


_DIFFERS = "it is not tried again, so this search differs from one that was never stopped."


def failure_sentences(
    trials: Sequence[Trial], scores: Sequence[Score] = (), untimed: Sequence[str] = ()
) -> list[str]:
    """One for each published width that failed, and for whatever is given up."""
    widths = [t for t in _failed_widths(trials) if not t.is_given_up]
    return [*map(_sentence, widths), *given_up_sentences(trials, scores, untimed)]


def given_up_sentences(trials: Sequence[Trial], scores: Sequence[Score], untimed: Sequence[str] = ()) -> list[str]:
    """One for each trial, training of the confirmation and network to choose from that is not tried any more."""
    names = {trial.arch.key: trial.name for trial in reversed(trials)}
    lost = Failed(reason=INTERRUPTED, message="")
    found = [f"The timing of {key}, before a trial was chosen, {_why(lost, MOST_TRIES)}" for key in untimed]
    found += [_sentence(trial) for trial in trials if trial.is_given_up]
    return found + [
        f"The confirmation of {names.get(score.subject, score.subject)} with seed {score.seed} "
        + _why(score.result, score.tries)
        for score in scores
        if isinstance(score.result, Failed) and score.is_given_up
    ]


def _failed_widths(trials: Sequence[Trial]) -> list[Trial]:
    """Of each published width that failed and never succeeded, the last attempt."""
    done = {t.baseline for t in trials if not isinstance(t.outcome, Failed)}
    last = {t.baseline: t for t in trials if t.is_published_width and t.baseline not in done}
    return [t for t in last.values() if isinstance(t.outcome, Failed) and t.outcome.reason != INTERRUPTED]


def _sentence(trial: Trial) -> str:
    assert isinstance(trial.outcome, Failed)
    name = trial.name if trial.is_published_width else f"{trial.name.capitalize()} ({trial.arch.key})"
    if trial.is_given_up:
        return f"{name} {_why(trial.outcome, trial.tries)}"
    return f"{name} failed in {trial.outcome.reason}: {trial.outcome.message}; the search goes on without it."


def _why(failed: Failed, tries: int) -> str:
    if failed.reason == INTERRUPTED:
        return f"was tried {tries} times, and the search was stopped while it ran: {_DIFFERS}"
    return f"failed {tries} times, at last in {failed.reason}: {failed.message}; it is not tried again."
