"""What holds for a whole study: what it was made with, its devices and limits, and how far it has gone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from mvit2_search.errors import SpecError
from mvit2_search.records.artifact import DEFAULT_FORMULATION
from mvit2_search.records.latency import Latency, Passport, time_fault
from mvit2_search.records.trial import Trial


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """A score in percent, 0 to 100, that is maximised: accuracy, mean average precision, mean IoU.

    Attributes:
        name: of its column in tables and of Optuna's objective.
        short: for the heads of tables.
    """

    name: str
    short: str
    direction: Literal["maximize"] = "maximize"


TOP1 = Metric(name="accuracy_pct", short="top-1")
METRICS = {"classification": TOP1}  # by the name of the task


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What an architecture must stay within."""

    latency_ms: float
    max_params: int | None

    def allow(self, latency: Latency, params: int) -> bool:
        return latency.latency_ms <= self.latency_ms and (self.max_params is None or params <= self.max_params)

    def allow_trial(self, trial: Trial) -> bool:
        """Whether a trial was timed and is within."""
        return trial.latency is not None and self.allow(trial.latency, trial.params)


@dataclass(frozen=True, kw_only=True, slots=True)
class DataInputs:
    """The images: how many of each part, and a fingerprint of all."""

    name: str
    fingerprint: str
    classes: tuple[str, ...]
    train: int
    selection: int
    confirmation: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """Everything that a study's numbers depend on. How long it goes on is not among it: see `Goals`.

    An input added later has a default, what studies did before it: so it is no conflict for them.
    """

    space: Mapping[str, Any]
    data: DataInputs
    latency_budget: str
    training: Mapping[str, Any]
    task: str = "classification"
    max_params: int | None = None
    formulation: str = DEFAULT_FORMULATION
    seed: int = 0
    sampler: str = "front"
    stopping: str = "dominance"

    def __post_init__(self) -> None:
        if self.task not in METRICS:
            raise SpecError(f"`task` {self.task!r}: expected {', '.join(METRICS)}")

    @property
    def metric(self) -> Metric:
        """What `score` means in the records of the study."""
        return METRICS[self.task]


@dataclass(frozen=True, kw_only=True, slots=True)
class Goals:
    """How far a study goes; may be raised later."""

    trials: int
    confirm_seeds: int
    control: int = 0
    max_hours: float | None = None

    def go_beyond(self, other: Self) -> bool:
        """Whether these ask for more than `other`."""
        mine, theirs = ((one.trials, one.confirm_seeds, one.control) for one in (self, other))
        return any(a > b for a, b in zip(mine, theirs, strict=True))


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """Why a study ended, in words, and at which goals."""

    why: str
    goals: Goals


@dataclass(frozen=True, kw_only=True, slots=True)
class CertificateOf:
    """What a check of the short trainings found, in the folder of the study that it was made for."""

    study: str
    verdict: str
    sentence: str


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetNetwork:
    """The published network that gives the budget, by its key, and its latency."""

    key: str
    latency: Latency


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyDevice:
    """A device that a study has a budget for."""

    passport: Passport
    reference_ms: float  # what the reference network took when the study began: the scale of all latencies
    budget_ms: float | None = None  # until it is known
    budget_network: BudgetNetwork | None = None

    def __post_init__(self) -> None:
        for value in (self.reference_ms, self.budget_ms):
            if value is not None and (fault := time_fault(value)):
                raise ValueError(fault)
