"""The seam of a task: what a network is trained for, and how it is scored."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from mvit2_search.arch.head import Head
from mvit2_search.records import Metric


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskScore:
    """The metric over images, and its mean over their classes."""

    score: float
    balanced: float


class Task(Protocol):
    """What a network is trained for.

    Attributes:
        head: what the network ends in; its cost counts (`arch.cost`).
        metric: what `score` gives.
    """

    head: Head
    metric: Metric

    def loss(self, outputs: Tensor, labels_N: Tensor, *, label_smoothing: float) -> Tensor:
        """The loss of a batch, a scalar."""

    def answers(self, outputs: Tensor) -> Tensor:
        """What the network says of each image."""

    def score(self, answers_N: np.ndarray, labels_N: np.ndarray) -> TaskScore:
        """How good the answers for all images are."""
