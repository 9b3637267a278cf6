"""What a network is trained for, and how it is scored; `data` has its images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from mvit2_search.arch.head import Head
from mvit2_search.records import Metric
from mvit2_search.system.registry import Entry, Registry


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


TASKS: Registry[Entry[Callable[[Sequence[str]], Task]]] = Registry(
    "`task`", {"classification": Entry("mvit2_search.task.classification:Classification")}
)


def make_task(name: str, classes: Sequence[str]) -> Task:
    """The task of that name for these classes; raises SpecError if there is none."""
    return TASKS.entry(name).load()(classes)
