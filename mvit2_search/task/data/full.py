"""Images to train a network fully on, all there are, and those that it is tested on."""

import hashlib
import sys
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
    paths = [Paths(file.path for file in files) for files in divided]
    ranges = AllRanges(source, paths, square)
    to_train = [] if tests_alone else divided[0]
    known = contents(folder, to_train, divided[1], source)

    def images(part: int, files: list[Labelled], shape: Shape) -> Stored:
        key = cache_key(shape, [known.stamp, str(part)])
        return Stored(
            source=source,
            paths=paths[part] if files else Paths(()),
            labels_N=np.fromiter((file.label for file in files), np.int64, len(files)),
            shape=shape,
            ranges=ranges,
            slots=None if cache is None else cache.slots(key, len(files), shape),
        )

    train = images(0, to_train, square._replace(most_ratio=_WHOLE if whole else 1.0, draft=2))
    test = images(1, divided[1], square)
    return FullData(
        name=str(folder),
        classes=tuple(found.classes),
        train=train,
        test=test,
        fingerprint=known.fingerprint,
        decoded_bytes=sum(len(part) * slot_bytes(part.shape) for part in (train, test)),
        notes=(*_folder_notes(found), *known.notes, *_pixel_notes(folder, train, test)),
    )


def _pixel_notes(folder: Path, train: Stored, test: Stored) -> list[str]:
    """From a look at the first images of each part; raises DataError if they cannot be used."""
    train_NSSC, _ = _first(train), _first(test)
    faults, count = train.faults | test.faults, len(train) + len(test)
    check_faults(str(folder), faults, count)
    if len(train) and train_NSSC.min() == train_NSSC.max():
        raise DataError(f"{folder}: all pixels of all training images are equal; there is nothing to learn")
    values = value_notes(train.ranges.known, train_NSSC) if len(train) else ()
    return [*values, *fault_notes(faults, count)]


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
        stamp: changes also with the times of their last changes.
    """

    fingerprint: str
    stamp: str
    notes: list[str]


def contents(folder: Path, train: list[Labelled], test: list[Labelled], source: Source) -> Contents:
    """Files that are read in seconds are read; of more, the names and sizes count."""
    name, total = relative(folder), 0
    sizes, stamp = hashlib.sha256(), hashlib.sha256()
    try:
        for file, (size, when) in zip(chain(train, test), source.stamps(_paths(train, test)), strict=True):
            line = f"{name(file.path)} {size}\n".encode("utf-8", "surrogateescape")
            sizes.update(line)
            stamp.update(b"%d " % when + line)
            total += size
        if len(train) + len(test) > _HASHED or total > _HASHED_BYTES:
            return Contents(sizes.hexdigest()[:16], stamp.hexdigest(), [])
        paths = list(_paths(train, test))
        hashes = in_threads(lambda at: hashlib.sha256(source.read(paths[at])).hexdigest(), range(len(paths)))
    except OSError as err:
        raise DataError(f"{err.filename}: {err.strerror}") from err
    known = dict(zip(paths, hashes.values(), strict=True))
    return Contents(fingerprint(folder, known), stamp.hexdigest(), list(_copy_notes(train, test, known)))


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
