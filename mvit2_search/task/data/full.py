"""Images to train a network fully on, all there are, and those that it is tested on."""

import hashlib
import os
import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from mvit2_search.errors import DataError
from mvit2_search.system.text import counted
from mvit2_search.task import Task, make_task
from mvit2_search.task.data.cache import Cache, cache_key, slot_bytes
from mvit2_search.task.data.dataset import Files, Images, Labelled, divide, mixed
from mvit2_search.task.data.decode import Shape
from mvit2_search.task.data.folder import Folder
from mvit2_search.task.data.images import in_threads
from mvit2_search.task.data.load import (
    FASHION_MNIST_MINI,
    check_faults,
    fault_notes,
    fingerprint,
    folder_notes,
    found_images,
    load_fashion_mnist_mini,
    value_notes,
)
from mvit2_search.task.data.source import Source
from mvit2_search.task.data.stored import AllRanges, Paths, Stored
from mvit2_search.task.data.walk import relative

_WHOLE = 1.5  # longest ratio of the sides of an image that is trained on as a whole
_LOOKED_AT, _LOOKED_AT_BYTES = 512, 5e7  # images of each part at the start, and bytes of their files and pixels
_ENOUGH = 64  # images of one colour are no chance
_HASHED, _HASHED_BYTES = 100_000, 1e9  # images, and bytes of their files, that are read in seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class FullData:
    """Images of one short side, to train on and to test on.

    Attributes:
        fingerprint: of the files, whatever their size here.
        decoded_bytes: of all files as pixels; 0 if there are no files.
        notes: what a user should know, in sentences.
    """

    name: str
    classes: tuple[str, ...]
    train: Images
    test: Images
    fingerprint: str
    decoded_bytes: int = 0
    task_name: str = "classification"
    notes: tuple[str, ...] = ()

    @property
    def task(self) -> Task:
        return make_task(self.task_name, self.classes)

    def class_fault(self, what: str, count: int, names: tuple[str, ...] | None) -> str | None:
        """How the classes of a network differ from these, if they do; `names` if it tells them."""
        knows = f"{what} knows {count} classes, and {self.name} has {len(self.classes)}"
        if names is not None and names != self.classes:
            other = min({*names} ^ {*self.classes}, default="their order")
            return f"{knows}; one that differs: {other}"
        return None if count == len(self.classes) else knows


def load_full(
    name_or_folder: str,
    *,
    size: int,
    whole: bool = False,
    results: Iterable[Path] = (),
    cache: Cache | None = None,
) -> FullData:
    """Find `fashion-mnist-mini` or a folder's images (see `task.data.load`), for a short side of `size` pixels.

    A network is trained on all of train/ and tested on val/, or on test/ where there is no val/. Of a folder
    without parts, it is tested on the images that a search confirms with, and trained on all others. Files are
    scaled bicubically. They are opened when they are needed, but for the first of each part.

    Args:
        whole: train on all of an image, up to one and a half times as wide as high or as high as wide; or else on
            its central square, as it is tested.
        cache: where decoded images are kept; without it, files are decoded each time.

    Raises:
        DataError: there are no such images, or they cannot be used.
    """
    if name_or_folder == FASHION_MNIST_MINI:
        return _shipped(size)
    return _found(name_or_folder, size, whole=whole, results=results, cache=cache)


def load_tests(name_or_folder: str, *, size: int, results: Iterable[Path] = ()) -> FullData:
    """The same, but with nothing to train on; the fingerprint is of the images to test on."""
    if name_or_folder == FASHION_MNIST_MINI:
        return _shipped(size)
    return _found(name_or_folder, size, tests_alone=True, results=results)


def _found(
    name: str,
    size: int,
    *,
    results: Iterable[Path],
    whole: bool = False,
    tests_alone: bool = False,
    cache: Cache | None = None,
) -> FullData:
    folder, found = found_images(name, results)
    divided = _divided(folder, found)
    source, square = found.source, Shape(size, resample=Image.Resampling.BICUBIC, draft=None)
    shapes = square._replace(most_ratio=_WHOLE if whole else 1.0, draft=2), square
    paths = [Paths(file.path for file in files) for files in divided]
    used = ([] if tests_alone else divided[0], divided[1])
    known = contents(folder, *used, source)
    decoded_bytes = sum(len(files) * slot_bytes(shape) for files, shape in zip(used, shapes, strict=True))
    about = [os.path.abspath(folder), known.fingerprint, known.stamp, str(shapes)]
    kept = None if cache is None else cache.opened(cache_key(about), decoded_bytes)
    ranges = AllRanges(source, paths, square, kept)

    def images(number: int, part: str) -> Stored:
        files, shape = used[number], shapes[number]
        return Stored(
            source=source,
            paths=paths[number] if files else Paths(()),
            labels_N=np.fromiter((file.label for file in files), np.int64, len(files)),
            changed_N=known.changed[number],
            shape=shape,
            ranges=ranges,
            slots=None if kept is None else kept.slots(part, len(files), shape),
        )

    train, test = images(0, "train"), images(1, "test")
    return FullData(
        name=str(folder),
        classes=tuple(found.classes),
        train=train,
        test=test,
        fingerprint=known.fingerprint,
        decoded_bytes=decoded_bytes,
        notes=(*_folder_notes(found), *known.notes, *_pixel_notes(folder, train, test)),
    )


def _pixel_notes(folder: Path, train: Stored, test: Stored) -> list[str]:
    """From a look at the first images of each part; raises DataError if they cannot be used."""
    train_NSSC, _ = _first(train), _first(test)
    faults, count = train.faults | test.faults, len(train) + len(test)
    check_faults(str(folder), faults, count)
    if not len(train_NSSC):
        return fault_notes(faults, count)
    is_one_colour = train_NSSC.min() == train_NSSC.max()
    if is_one_colour and len(train_NSSC) >= min(_ENOUGH, len(train)):
        raise DataError(f"{folder}: all pixels of all training images are equal; there is nothing to learn")
    return [*value_notes(train.ranges.known, train_NSSC), *fault_notes(faults, count)]


def _first(images: Stored) -> np.ndarray:
    """Squares of the first images, uint8 [N, S, S, 3]: many of small ones, some of large ones."""
    most = min(_LOOKED_AT, len(images), max(1, int(_LOOKED_AT_BYTES / slot_bytes(images.shape))))
    sizes = np.cumsum([size for size, _ in images.source.stamps(images.paths[:most])])
    count = min(most, 1 + int(np.searchsorted(sizes, _LOOKED_AT_BYTES)))
    return images.squares(range(count)).pixels_NSSC


class Contents(NamedTuple):
    """What is known of files before any is decoded.

    Attributes:
        fingerprint: of their names and contents; of very many, of their names and sizes.
        stamp: also of the times of their last changes.
        changed: these times, of the images to train on and to test on.
    """

    fingerprint: str
    stamp: str
    changed: tuple[np.ndarray, np.ndarray]
    notes: list[str]


def contents(folder: Path, train: list[Labelled], test: list[Labelled], source: Source) -> Contents:
    """Files that are read in seconds are read; of more, the names and sizes count."""
    name, total, times = relative(folder), 0, array("q")
    sizes, stamp = hashlib.sha256(), hashlib.sha256()
    try:
        for file, (size, when) in zip(chain(train, test), source.stamps(_paths(train, test)), strict=True):
            line = f"{name(file.path)} {size}\n".encode("utf-8", "surrogateescape")
            sizes.update(line)
            stamp.update(b"%d " % when + line)
            times.append(when)
            total += size
        changed = np.array(times[: len(train)]), np.array(times[len(train) :])
        if len(times) > _HASHED or total > _HASHED_BYTES:
            return Contents(sizes.hexdigest()[:16], stamp.hexdigest(), changed, [])
        paths = list(_paths(train, test))
        hashes = in_threads(lambda at: hashlib.sha256(source.read(paths[at])).hexdigest(), range(len(paths)))
    except OSError as err:
        raise DataError(f"{err.filename}: {err.strerror}") from err
    known = dict(zip(paths, hashes.values(), strict=True))
    return Contents(fingerprint(folder, known), stamp.hexdigest(), changed, list(_copy_notes(train, test, known)))


def _paths(train: list[Labelled], test: list[Labelled]) -> Iterator[str]:
    return (file.path for file in chain(train, test))


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


def _copy_notes(train: list[Labelled], test: list[Labelled], hashes: Mapping[str, str]) -> Iterator[str]:
    known = {hashes[file.path] for file in train}
    if copies := sum(hashes[file.path] in known for file in test):
        yield (
            f"{counted(copies, 'test image')} of {len(test)} are exact copies of training images: accuracies come "
            "out too high"
        )
