"""Image classification: one class per image."""

from collections.abc import Sequence

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from mvit2_search.arch.head import ClassifierHead
from mvit2_search.records import TOP1
from mvit2_search.task import TaskScore


class Classification:
    """Cross-entropy, scored by top-1 accuracy."""

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
