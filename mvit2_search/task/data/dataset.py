"""A data set, its split, and how its images become the input of a network.

The split depends on an image's path inside the folder only, so the same folder is always split the same way.
Every network takes values in [0, 1] without mean or deviation, MobileViTv2 in the order RGB, the first version in
the order BGR (`ArchConfig.channel_order`, which exported files state too).
"""

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from mvit2_search.arch import ChannelOrder
from mvit2_search.task import Task, make_task
from mvit2_search.task.data.walk import relative

Files = Mapping[str, Sequence[str]]  # the images of each class
Places = Sequence[int] | np.ndarray  # of images in their order
_TEST_SHARE, _MAX_TEST = 0.2, 5_000  # of selection and of confirmation


class Labelled(NamedTuple):
    """An image and the index of its class."""

    path: str
    label: int


class Division(NamedTuple):
    """The files of each split, before any is opened; classes are mixed."""

    train: list[Labelled]
    selection: list[Labelled]
    confirmation: list[Labelled]


def divide(folder: Path, parts: Mapping[str, Files], *, max_train: int) -> Division:
    """Select by `val` and confirm with `test`; a missing one is cut from the training images.

    If only one of them is given, it is for the confirmation, which the search must not see. All parts have the
    same classes in the same order; `train` has an image of each class for every split that is cut from it.
    """
    train, val, test = (parts.get(name, {}) for name in ("train", "val", "test"))
    selection, confirmation = (val, test) if val and test else (None, val or test or None)
    share = share_of_tests(train)
    if confirmation is None:
        train, confirmation = cut(folder, train, share)
        share /= 1 - share  # of what is left
    if selection is None:
        train, selection = cut(folder, train, share)
    return Division(
        train=mixed(folder, train, max_train),
        selection=mixed(folder, selection, _MAX_TEST),
        confirmation=mixed(folder, confirmation, _MAX_TEST),
    )


def share_of_tests(train: Files) -> float:
    """How much of the training images is cut off to confirm with, where nothing else is there for it."""
    return min(_TEST_SHARE, _MAX_TEST / _count(train))


def _count(files: Files) -> int:
    return sum(map(len, files.values()))


def cut(folder: Path, files: Files, share: float) -> tuple[Files, Files]:
    """Each class in two: most of it, and `share` of it but at least one image."""
    most, rest = {}, {}
    for name, paths in files.items():
        ordered = _shuffled(folder, paths)
        count = max(1, round(share * len(paths)))
        rest[name], most[name] = ordered[:count], ordered[count:]
    return most, rest


def mixed(folder: Path, files: Files, most: int) -> list[Labelled]:
    """About `most` images at most, in the classes' proportions but at least one of each, classes mixed."""
    share = min(1.0, most / _count(files))
    kept, ranks = [], array("Q")
    for label, paths in enumerate(files.values()):
        some = paths if share == 1 else _shuffled(folder, paths)[: max(1, round(share * len(paths)))]
        kept += [Labelled(path=path, label=label) for path in some]
        ranks.extend(_ranks(folder, some, "order "))
    return [kept[place] for place in np.argsort(ranks, kind="stable")]


def _shuffled(folder: Path, paths: Sequence[str]) -> list[str]:
    return [paths[place] for place in np.argsort(array("Q", _ranks(folder, paths)), kind="stable")]


def _ranks(folder: Path, paths: Iterable[str], salt: str = "") -> Iterator[int]:
    """Sorting by these is a fixed shuffle for each salt."""
    name = relative(folder)
    for path in paths:
        digest = hashlib.sha256((salt + name(path)).encode("utf-8", "surrogateescape")).digest()
        yield int.from_bytes(digest[:8])


class Item(NamedTuple):
    """An image, uint8 [H, W, C], not to be written to, and the index of its class."""

    pixels_HWC: np.ndarray
    label: int


class Squares(NamedTuple):
    """Central squares of some images, uint8, and the places of these among those that were asked for."""

    pixels_NSSC: np.ndarray
    good_N: np.ndarray  # int64; all of them but those whose files do not open


class Images(Protocol):
    """Images with their classes, in an order that mixes the classes.

    Attributes:
        labels_N: int64.
        faults: files that do not open, and why, of those that this process has read.
    """

    labels_N: np.ndarray
    faults: dict[str, str]

    def __len__(self) -> int: ...

    def item(self, place: int) -> Item:
        """To train on. For an image that does not open it is another one, always the same."""

    def squares(self, places: Places, size: int | None = None) -> Squares:
        """To test on. `size` is the side of the squares in pixels; by default the short side of the images."""


@dataclass(kw_only=True, slots=True)
class Split:
    """Square images of one size, in an array."""

    pixels_NSSC: np.ndarray  # uint8
    labels_N: np.ndarray  # int64
    faults: dict[str, str] = field(default_factory=dict)  # there are no files

    def __len__(self) -> int:
        return len(self.labels_N)

    def item(self, place: int) -> Item:
        return Item(self.pixels_NSSC[place], int(self.labels_N[place]))

    def squares(self, places: Places, size: int | None = None) -> Squares:
        pixels_NSSC = self.pixels_NSSC[places]
        return Squares(centre(pixels_NSSC, size or pixels_NSSC.shape[1]), np.arange(len(places)))

    def first(self, count: int) -> "Split":
        """The first `count` images, or all if there are fewer."""
        return Split(pixels_NSSC=self.pixels_NSSC[:count], labels_N=self.labels_N[:count])


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """The three splits of a data set."""

    name: str
    classes: tuple[str, ...]
    train: Split
    selection: Split  # the search selects by it: a validation set
    confirmation: Split  # the search never sees it: a test set
    fingerprint: str  # of the files in use, independent of the image size
    task_name: str = "classification"
    notes: tuple[str, ...] = ()  # what a user should know, for instance which images could not be read

    @property
    def task(self) -> Task:
        """What networks are trained for on it."""
        return make_task(self.task_name, self.classes)

    @property
    def images_per_class(self) -> list[int]:
        """In the order of the classes, all splits together."""
        labels = np.concatenate([part.labels_N for part in (self.train, self.selection, self.confirmation)])
        return [int(count) for count in np.bincount(labels, minlength=len(self.classes))]

    @property
    def is_unbalanced(self) -> bool:
        """Whether the largest class has at least twice the images of the smallest: accuracy ignores small ones."""
        counts = self.images_per_class
        return max(counts) >= 2 * min(counts)


def to_input(pixels_NSSC: np.ndarray, order: ChannelOrder, device: str = "cpu") -> Tensor:
    """uint8 grey or RGB images to float [N, 3, S, S] in [0, 1], channels last in memory."""
    ordered_NSSC = pixels_NSSC if order == "RGB" else pixels_NSSC[..., ::-1].copy()  # no negative strides
    x_NCSS = torch.from_numpy(ordered_NSSC).to(device).permute(0, 3, 1, 2).float().div_(255)
    return x_NCSS.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def centre(pixels_HWC: np.ndarray, size: int) -> np.ndarray:
    """The central square of so many pixels of images [..., H, W, C], as a view."""
    top, left = ((side - size) // 2 for side in pixels_HWC.shape[-3:-1])
    return pixels_HWC[..., top : top + size, left : left + size, :]
