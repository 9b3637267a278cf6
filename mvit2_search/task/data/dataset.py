"""A data set in memory, and how its images become the input of a network.

Training and evaluation share `to_input`: every network takes values in [0, 1] without mean or deviation,
MobileViTv2 in the order RGB, the first version in the order BGR (`ArchConfig.channel_order`, which exported files
state too).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mvit2_search.arch import ChannelOrder
from mvit2_search.task import Task, make_task

_UNBALANCED = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Square images of one size with their classes, in an order that mixes the classes."""

    pixels_NSSC: np.ndarray  # uint8
    labels_N: np.ndarray  # int64

    def __len__(self) -> int:
        return len(self.labels_N)

    def first(self, count: int) -> "Split":
        """The first `count` images, or all if there are fewer."""
        return Split(pixels_NSSC=self.pixels_NSSC[:count], labels_N=self.labels_N[:count])


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """The three splits of a data set.

    Attributes:
        train, selection, confirmation: networks train on the first; the search selects by the second (a validation
            set) and never sees the third (a test set).
        fingerprint: of the files in use, independent of the image size.
        notes: what a user should know, for instance which images could not be read.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    selection: Split
    confirmation: Split
    fingerprint: str
    notes: tuple[str, ...] = ()

    @property
    def task(self) -> Task:
        """What networks are trained for on it."""
        return make_task("classification", self.classes)

    @property
    def images_per_class(self) -> list[int]:
        """In the order of the classes, all splits together."""
        labels = np.concatenate([part.labels_N for part in (self.train, self.selection, self.confirmation)])
        return [int(count) for count in np.bincount(labels, minlength=len(self.classes))]

    @property
    def is_unbalanced(self) -> bool:
        """Whether the largest class has at least twice the images of the smallest: accuracy ignores small ones."""
        counts = self.images_per_class
        return max(counts) >= _UNBALANCED * min(counts)


def to_input(pixels_NSSC: np.ndarray, order: ChannelOrder) -> Tensor:
    """uint8 grey or RGB images to float [N, 3, S, S] in [0, 1], channels last in memory."""
    ordered_NSSC = pixels_NSSC if order == "RGB" else pixels_NSSC[..., ::-1].copy()  # no negative strides
    x_NCSS = torch.from_numpy(ordered_NSSC).permute(0, 3, 1, 2).float().div_(255)
    return x_NCSS.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def flipped(pixels_NSSC: np.ndarray, chosen_N: np.ndarray) -> np.ndarray:
    """Mirror the chosen images left to right."""
    return np.where(chosen_N[:, None, None, None], pixels_NSSC[:, :, ::-1], pixels_NSSC)
