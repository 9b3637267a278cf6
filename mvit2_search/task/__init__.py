"""What a network is trained for, and how it is scored; `data` has its images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from mvit2_search.arch.head import ClassifierHead, Head
from mvit2_search.errors import SpecError
from mvit2_search.records import TOP1, Metric


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskScore:
    """The metric over images, and its mean over their classes."""

    score: float
    balanced: float


class Task(Protocol):
    """What a network is trained for."""

    head: Head  # what it ends in; its cost counts (`arch.cost`)
    metric: Metric  # what `score` gives

    def loss(self, outputs: Tensor, labels_N: Tensor, *, label_smoothing: float) -> Tensor:
        """The loss of a batch, a scalar."""

    def answers(self, outputs: Tensor) -> Tensor:
        """What the network says of each image."""

    def score(self, answers_N: np.ndarray, labels_N: np.ndarray) -> TaskScore:
        """How good the answers for all images are."""


class Classification:
    """One class per image: cross-entropy, scored by top-1 accuracy."""

    metric = TOP1

    def __init__(self, classes: Sequence[str]) -> None:
        self.head = ClassifierHead(len(classes))

    def loss(self, outputs: Tensor, labels_N: Tensor, *, label_smoothing: float) -> Tensor:
        return F.cross_entropy(outputs, labels_N, label_smoothing=label_smoothing)

    def answers(self, outputs: Tensor) -> Tensor:
        return outputs.argmax(1)

    def score(self, answers_N: np.ndarray, labels_N: np.ndarray) -> TaskScore:
        right_N = answers_N == labels_N
        recalls = [right_N[labels_N == label].mean() for label in np.unique(labels_N)]
        return TaskScore(score=100 * float(right_N.mean()), balanced=100 * float(np.mean(recalls)))


TASKS: dict[str, Callable[[Sequence[str]], Task]] = {"classification": Classification}


def make_task(name: str, classes: Sequence[str]) -> Task:
    """The task of that name for these classes; raises SpecError if there is none."""
    if name not in TASKS:
        raise SpecError(f"`task` {name!r}: expected one of {', '.join(TASKS)}")
    return TASKS[name](classes)
