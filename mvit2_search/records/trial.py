"""What became of a candidate and of a training of the confirmation. Failures are records too."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mvit2_search.arch import ArchConfig
from mvit2_search.errors import TrainingError
from mvit2_search.records.latency import Latency, score_fault


def _check_scores(*scores: object) -> None:
    """Raises TrainingError where one is no number from 0 to 100: a task's metric is in percent."""
    for score in scores:
        if fault := score_fault(score):
            raise TrainingError(fault)


INTERRUPTED = "interrupted"
ACCURACY_FROM = "accuracy_from"  # in a trial's provenance
MOST_TRIES = 3  # of what ran each time that the driver ended, and of a published width that failed


@dataclass(frozen=True, kw_only=True, slots=True)
class _Timed:
    """Latencies by device, the one that the search optimises first."""

    latencies: Mapping[str, Latency]

    @property
    def latency(self) -> Latency:
        return next(iter(self.latencies.values()))


@dataclass(frozen=True, kw_only=True, slots=True)
class Infeasible(_Timed):
    """Over the budget: timed, never trained."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stopped(_Timed):
    """Training ended early, as the study's stopping rule said."""

    curve: tuple[float, ...]

    def __post_init__(self) -> None:
        _check_scores(*self.curve)


@dataclass(frozen=True, kw_only=True, slots=True)
class Audited:
    """That a training would have been stopped, and went on as an audit of the stopping rule.

    Attributes:
        epoch: after which it would have been stopped, from 1.
        bound: the most that it was expected to reach then.
    """

    epoch: int
    bound: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished(_Timed):
    """Timed and trained to the end.

    Attributes:
        score: the task's metric on all selection images.
        curve: the same after each epoch, on fewer images but for the last.
        balanced: the mean over the classes, where they are unbalanced.
        audited: whether it would have been stopped early.
    """

    score: float
    curve: tuple[float, ...]
    balanced: float | None = None
    audited: Audited | None = None

    def __post_init__(self) -> None:
        _check_scores(self.score, *self.curve)


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """No result. `reason` is one word such as `interrupted`, `training`, `measurement`."""

    reason: str
    message: str


Outcome = Finished | Infeasible | Stopped | Failed


def _is_interrupted(outcome: object) -> bool:
    return isinstance(outcome, Failed) and outcome.reason == INTERRUPTED


def outcome_name(outcome: Outcome) -> str:
    """`finished`, `infeasible`, `stopped` or `failed`."""
    return type(outcome).__name__.lower()


@dataclass(frozen=True, slots=True)
class Candidate:
    """Proposed by the search."""


@dataclass(frozen=True, slots=True)
class Published:
    """A published width, which the search has to beat."""

    name: str


@dataclass(frozen=True, slots=True)
class Control:
    """A random architecture to compare the search with, by its place in the order drawn."""

    index: int


Role = Candidate | Published | Control


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One attempt at one architecture. Written once, never edited.

    Attributes:
        number: of Optuna's trial; None for what is kept beside those.
        params, macs: parameters and multiply-adds of one image, with the task's head.
        repeats: the number of the trial whose outcome this one takes over, as the architecture is the same.
        tries: how often the architecture was begun in this role, this attempt included.
        provenance: what is needed to do it again, besides the study's own inputs.
    """

    number: int | None
    arch: ArchConfig
    role: Role = field(default_factory=Candidate)
    outcome: Outcome
    params: int
    macs: int
    seed: int
    seconds: float
    repeats: int | None = None
    tries: int = 1
    provenance: dict[str, str]

    @property
    def name(self) -> str:
        """For people: the published width's name, `control 7` or `trial 12`."""
        return role_name(self.role, self.number)

    @property
    def published(self) -> str | None:
        """The name of the published width that it is, if it is one."""
        return self.role.name if isinstance(self.role, Published) else None

    @property
    def is_trained_candidate(self) -> bool:
        """Whether it counts among the candidates that a search was asked to train."""
        is_candidate = isinstance(self.role, Candidate)
        return is_candidate and isinstance(self.outcome, Finished | Stopped) and self.repeats is None

    @property
    def accuracy_from(self) -> str | None:
        """The trial of another study whose accuracies were taken over."""
        return self.provenance.get(ACCURACY_FROM)

    @property
    def is_given_up(self) -> bool:
        """Whether it would be tried again, had it not been tried so often."""
        return self._is_open and self.tries >= MOST_TRIES

    @property
    def may_be_tried_again(self) -> bool:
        return self._is_open and self.tries < MOST_TRIES

    @property
    def _is_open(self) -> bool:
        """Interrupted, or a published width or a random architecture that failed: the verdict needs those."""
        is_needed = not isinstance(self.role, Candidate)
        return _is_interrupted(self.outcome) or (is_needed and isinstance(self.outcome, Failed))

    @property
    def latency(self) -> Latency | None:
        """The latency, which all but a failed trial have."""
        return None if isinstance(self.outcome, Failed) else self.outcome.latency


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """A latency that was asked for to choose a trial."""

    arch: ArchConfig
    latency: Latency


def place(trial: Trial) -> tuple[int, str]:
    """Where it stands in lists: what is kept beside the study's trials first, then by number."""
    return (-1, trial.name) if trial.number is None else (trial.number, trial.name)


def role_name(role: Role, number: int | None) -> str:
    """The published width's name, `control 7` or `trial 12`."""
    match role:
        case Published(name=name):
            return name
        case Control(index=index):
            return f"control {index}"
    return f"trial {number}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """One training of one finalist, scored on the confirmation images; `tries` is how often it was begun."""

    subject: str  # architecture key
    seed: int
    result: float | Failed  # the task's metric
    balanced: float | None = None  # the mean over the classes, where they are unbalanced
    tries: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.result, Failed):
            _check_scores(self.result)

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
        return self.may_be_tried_again and _is_interrupted(self.result)


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


_DIFFERS = "So this search differs from one that was never stopped."


def failure_sentences(
    trials: Sequence[Trial], scores: Sequence[Score] = (), untimed: Sequence[str] = ()
) -> list[str]:
    """One for each published width that failed and never succeeded, and for whatever is given up."""
    done = {t.published for t in trials if not isinstance(t.outcome, Failed)}
    last = {t.published: t for t in trials if t.published and t.published not in done}
    failed = [t for t in last.values() if not (_is_interrupted(t.outcome) or t.is_given_up)]
    return [*map(_sentence, failed), *given_up_sentences(trials, scores, untimed)]


def given_up_sentences(trials: Sequence[Trial], scores: Sequence[Score], untimed: Sequence[str] = ()) -> list[str]:
    """One for each trial, training of the confirmation and network to choose from that is not tried any more."""
    names = {trial.arch.key: trial.name for trial in reversed(trials)}
    lost = Failed(reason=INTERRUPTED, message="")
    found = [f"The timing of {key}, for choosing a trial, {_why(lost, MOST_TRIES)}" for key in untimed]
    found += [_sentence(trial) for trial in trials if trial.is_given_up]
    return found + [
        f"The confirmation of {names.get(score.subject, score.subject)} with seed {score.seed} "
        + _why(score.result, score.tries)
        for score in scores
        if isinstance(score.result, Failed) and score.is_given_up
    ]


def _sentence(trial: Trial) -> str:
    assert isinstance(trial.outcome, Failed)
    name = trial.name if trial.published else f"{trial.name.capitalize()} ({trial.arch.key})"
    if trial.is_given_up:
        return f"{name} {_why(trial.outcome, trial.tries)}"
    return f"{name} failed in {trial.outcome.reason}: {trial.outcome.message}; the search goes on without it."


def _why(failed: Failed, tries: int) -> str:
    if failed.reason == INTERRUPTED:
        return f"was stopped {tries} times while it ran, and is not tried again. {_DIFFERS}"
    message = failed.message.rstrip(".")
    return f"failed {tries} times and is not tried again. The last failure, in {failed.reason}: {message}."
