"""Training loops and where they run."""

from mvit2_search.train.device import resolve_train_device
from mvit2_search.train.loop import Accuracy, accuracy, train_epochs
from mvit2_search.train.memory import keep_freed_memory
from mvit2_search.train.statistics import settle_statistics

__all__ = [
    "Accuracy",
    "accuracy",
    "keep_freed_memory",
    "resolve_train_device",
    "settle_statistics",
    "train_epochs",
]
