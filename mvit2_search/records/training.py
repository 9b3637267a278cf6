"""What a full training was asked for, and how far it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mvit2_search.arch import ArchConfig
from mvit2_search.errors import SpecError
from mvit2_search.records.recipe import Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherInputs:
    """What a training learns from another network.

    Attributes:
        weights: a hash of the other one's.
        temperature: that the outputs of both are divided by.
        weight: of the other one in the loss, from 0 to 1; the rest is that of the labels.
    """

    weights: str
    temperature: float
    weight: float

    def __post_init__(self) -> None:
        for name, value, least, most in (
            ("teacher_temperature", self.temperature, 0.01, 1000),
            ("teacher_weight", self.weight, 0, 1),
        ):
            if not least <= value <= most:
                raise SpecError(f"`{name}` {value:g}: expected a number from {least:g} to {most:g}")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingInputs:
    """What a training cannot go on without.

    How its steps are computed (precision, parts, processes) may change: it moves the weights a little.
    """

    arch: ArchConfig
    recipe: Recipe
    seed: int
    data: str  # fingerprint
    classes: tuple[str, ...]
    init: str | None = None  # hash of the weights that it starts from
    teacher: TeacherInputs | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochRow:
    """A row of metrics.csv.

    Attributes:
        learning_rate: of its last step.
        loss: mean over its steps.
        score: the task's metric of the averaged weights on the test images, in percent.
        seconds: in which it was trained and tested, also in earlier processes.
    """

    epoch: int
    learning_rate: float
    loss: float
    score: float
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingState:
    """What a checkpoint keeps beside the tensors.

    Attributes:
        done: steps.
        averaged: steps that the averaged weights have seen.
        losses: of the steps of the unfinished epoch.
        scaler: of the gradients in fp16; empty in any other precision.
        seconds: of the unfinished epoch so far.
    """

    inputs: TrainingInputs
    done: int = 0
    averaged: int = 0
    losses: tuple[float, ...] = ()
    scaler: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    rows: tuple[EpochRow, ...] = ()

    @property
    def best(self) -> EpochRow | None:
        """The first of the rows with the highest score."""
        return max(self.rows, key=lambda row: row.score, default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class FullTraining:
    """The result of a full training of a study's network, which the study keeps.

    Attributes:
        key: of the network.
        inputs: a digest of all that the training was asked for, its recipe among it.
        init: hash of the weights that it started from; None for random ones.
        data: the images, which need not be those of the search.
        epoch: of the checkpoint with the best score on the test images.
        images: that it was tested on.
        folder: where it was trained.
    """

    key: str
    inputs: str
    data: str
    seed: int
    init: str | None
    epochs: int
    image_size: int
    epoch: int
    score: float
    images: int
    folder: str

    @property
    def name(self) -> str:
        """A training with the same inputs takes its place."""
        return f"{self.key}:{self.inputs}"
