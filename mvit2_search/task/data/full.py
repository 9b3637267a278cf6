"""Images to train a network fully on, all there are, and those that it is tested on."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from mvit2_search.errors import DataError
from mvit2_search.system.text import counted
from mvit2_search.task import Task, make_task
from mvit2_search.task.data.dataset import Files, Labelled, Split, divide, mixed
from mvit2_search.task.data.folder import Folder
from mvit2_search.task.data.images import Read, read_images
from mvit2_search.task.data.load import (
    FASHION_MNIST_MINI,
    fingerprint,
    folder_notes,
    found_images,
    load_fashion_mnist_mini,
    skipped_images,
    splits,
    value_notes,
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
        return _shipped(size)
    folder, found = found_images(name_or_folder, results)
    train, test = _divided(folder, found)
    read = _read(folder, train + test, size)
    skipped = skipped_images(folder, read)
    train_split, test_split = splits(read, [train, test])
    if train_split.pixels_NSSC.min() == train_split.pixels_NSSC.max():
        raise DataError(f"{folder}: all pixels of all training images are equal; there is nothing to learn")
    return FullData(
        name=str(folder),
        classes=tuple(found.classes),
        train=train_split,
        test=test_split,
        fingerprint=fingerprint(folder, read.hashes),
        notes=(
            *_folder_notes(found),
            *_copy_notes(train, test, read),
            *value_notes(read, train_split),
            *skipped,
        ),
    )


def load_tests(name_or_folder: str, *, size: int, results: Iterable[Path] = ()) -> FullData:
    """The same, but with nothing to train on: only the images to test on are read, and make the fingerprint.

    All are read where some have more than 8 bits, which are scaled by the range of all values.
    """
    if name_or_folder == FASHION_MNIST_MINI:
        return _shipped(size)
    folder, found = found_images(name_or_folder, results)
    _, test = _divided(folder, found)
    read = _read(folder, test, size)
    if read.ranges:
        return load_full(name_or_folder, size=size, results=results)
    skipped = skipped_images(folder, read)
    train_split, test_split = splits(read, [[], test])
    return FullData(
        name=str(folder),
        classes=tuple(found.classes),
        train=train_split,
        test=test_split,
        fingerprint=fingerprint(folder, read.hashes),
        notes=(*_folder_notes(found), *skipped),
    )


def _shipped(size: int) -> FullData:
    small = load_fashion_mnist_mini(size)
    return FullData(
        name=small.name,
        classes=small.classes,
        train=small.train,
        test=small.confirmation,
        fingerprint=small.fingerprint,
    )


def _divided(folder: Path, found: Folder) -> tuple[list[Labelled], list[Labelled]]:
    """The files to train on and to test on, classes mixed."""
    parts: dict[str, Files] = {name: part.classes for name, part in found.parts.items()}
    if test := parts.get("val") or parts.get("test"):
        return mixed(folder, parts["train"], sys.maxsize), mixed(folder, test, sys.maxsize)
    tests = divide(folder, parts, max_train=1).confirmation
    tested = {file.path for file in tests}
    others = {name: [path for path in paths if path not in tested] for name, paths in parts["train"].items()}
    return mixed(folder, others, sys.maxsize), tests


def _read(folder: Path, files: list[Labelled], size: int) -> Read:
    paths = [file.path for file in files]
    return read_images(paths, size, name=str(folder), resample=Image.Resampling.BICUBIC)


def _folder_notes(found: Folder) -> Iterator[str]:
    """How the folder is read, and what in it is not used."""
    notes = folder_notes(found)
    names = {part: f"{files.path.name}/" for part, files in found.parts.items()}
    if len(names) > 1:
        next(notes)  # which parts a search uses, and how
        tests = names.get("val") or names["test"]
        unused = f"; {names['test']} is not used" if len(names) > 2 else ""
        yield f"{names['train']} to train on, {tests} to test on{unused}"
    yield from notes


def _copy_notes(train: list[Labelled], test: list[Labelled], read: Read) -> Iterator[str]:
    known = {read.hashes.get(file.path) for file in train} - {None}
    if copies := sum(read.hashes.get(file.path) in known for file in test):
        yield (
            f"{counted(copies, 'test image')} of {len(test)} are exact copies of training images: accuracies come "
            "out too high"
        )
