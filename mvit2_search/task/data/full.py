"""Images to train a network fully on, all there are, and those that it is tested on."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mvit2_search.task import Task, make_task
from mvit2_search.task.data.dataset import Files, Labelled, Split, cut, mixed, share_of_tests
from mvit2_search.task.data.images import read_images
from mvit2_search.task.data.load import (
    FASHION_MNIST_MINI,
    fingerprint,
    folder_notes,
    found_images,
    load_fashion_mnist_mini,
    skipped_images,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class FullData:
    """Squares of one size, to train on and to test on.

    Attributes:
        fingerprint: of the files, whatever their size here.
        notes: what a user should know, in sentences.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    fingerprint: str
    task_name: str = "classification"
    notes: tuple[str, ...] = ()

    @property
    def task(self) -> Task:
        return make_task(self.task_name, self.classes)


def load_full(name_or_folder: str, *, size: int, results: Iterable[Path] = ()) -> FullData:
    """Load `fashion-mnist-mini` or a folder (see `task.data.load`), images scaled to a short side of `size`.

    A network is trained on all of train/ and tested on val/, or on test/ where there is no val/. Of a folder
    without parts, it is tested on the images that a search confirms with, and trained on all others. Files are
    scaled bicubically.

    Raises:
        DataError: there are no such images, or they cannot be used.
    """
    if name_or_folder == FASHION_MNIST_MINI:
        small = load_fashion_mnist_mini(size)
        return FullData(
            name=small.name,
            classes=small.classes,
            train=small.train,
            test=small.confirmation,
            fingerprint=small.fingerprint,
        )
    folder, found = found_images(name_or_folder, results)
    train, test = _divided(folder, {name: part.classes for name, part in found.parts.items()})
    read = read_images(
        [file.path for file in train + test], size, name=str(folder), resample=Image.Resampling.BICUBIC
    )
    notes = (*folder_notes(found), *skipped_images(folder, read))
    count = sum(file.path in read.hashes for file in train)
    labels_N = np.array([file.label for file in train + test if file.path in read.hashes], np.int64)
    return FullData(
        name=str(folder),
        classes=tuple(found.classes),
        train=Split(pixels_NSSC=read.pixels_NSSC[:count], labels_N=labels_N[:count]),
        test=Split(pixels_NSSC=read.pixels_NSSC[count:], labels_N=labels_N[count:]),
        fingerprint=fingerprint(folder, read.hashes),
        notes=notes,
    )


def _divided(folder: Path, parts: dict[str, Files]) -> tuple[list[Labelled], list[Labelled]]:
    train, test = parts["train"], parts.get("val") or parts.get("test")
    if test is None:
        train, test = cut(folder, train, share_of_tests(train))
    train_files, test_files = (mixed(folder, files, sys.maxsize) for files in (train, test))
    return train_files, test_files
