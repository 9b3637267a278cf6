"""A user's own images, one sub-folder per class, as a data set: found, divided, read.

    images/cat/1.jpg  images/dog/2.png                      three parts, 60 / 20 / 20 % of every class
    images/train/cat/1.jpg ...  images/val/cat/9.jpg ...    confirmation from val/ or test/, the rest from train/
    images/train/...  images/val/...  images/test/...       selection from val/, confirmation from test/

Which image goes where depends on its path inside the folder and nothing else.
"""

import hashlib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from mvit2_search.errors import DataError
from mvit2_search.task.data.classes import Folder, find_images
from mvit2_search.task.data.dataset import Dataset, Split
from mvit2_search.task.data.images import Read, read_first, read_images
from mvit2_search.task.data.layout import Division, divide
from mvit2_search.task.data.remarks import balance_remarks, copies_remarks, layout_remarks, value_remarks

_MAX_SKIPPED = 0.001  # share of images that may fail to open
_SHOWN = 5


def load_folder(folder: Path, *, image_size: int, max_train: int, results: Iterable[Path]) -> Dataset:
    """The images below `folder`, scaled and centre-cropped to `image_size`, as RGB.

    Up to 5,000 images to select by and to confirm with and up to `max_train` to train on are read, in
    the classes' proportions.

    Raises:
        DataError: no image, one class, a class without images, or more than 0.1 % that do not open.
    """
    found, division = _division(folder, max_train, results)
    read = read_images([file.path for part in division.parts for file in part], image_size, name=str(folder))
    skipped = _unreadable(folder, read)
    train, selection, confirmation = _splits(division, read)
    if train.pixels_NSSC.min() == train.pixels_NSSC.max():
        raise DataError(f"{folder}: all pixels of all training images are equal; there is nothing to tell apart")
    whole = Dataset(
        name=str(folder),
        classes=tuple(found.train),
        train=train,
        selection=selection,
        confirmation=confirmation,
        fingerprint=_fingerprint(folder, read.hashes),
        notes=(
            *layout_remarks(folder, found),
            *copies_remarks(folder, division, read.hashes),
            *value_remarks(read, train),
            *skipped,
        ),
    )
    return replace(whole, notes=(*whole.notes, *balance_remarks(whole)))


def first_of_folder(folder: Path, *, image_size: int, count: int, results: Iterable[Path]) -> np.ndarray:
    """The first `count` selection images that open, uint8 RGB [N, S, S, 3]; the others are not opened.

    Raises:
        DataError: as `load_folder` does.
    """
    files = _division(folder, 1, results)[1].selection
    good = read_first([file.path for file in files], image_size, count=count)
    if not good:
        raise DataError(f"{folder}: none of {len(files)} selection images opens")
    return np.stack(good)


def _division(folder: Path, max_train: int, results: Iterable[Path]) -> tuple[Folder, Division]:
    try:
        with warnings.catch_warnings(action="ignore"):  # Pillow's, of odd files
            found = find_images(folder, results)
    except OSError as err:
        raise DataError(f"{err.filename}: {err.strerror}") from err
    return found, divide(folder, found.train, found.val, found.test, max_train=max_train)


def _unreadable(folder: Path, read: Read) -> list[str]:
    """What to say of images that did not open; raises DataError where they are too many."""
    bad, of = [f"{path}: {why}" for path, why in read.bad.items()], len(read.hashes) + len(read.bad)
    if len(bad) == of:
        raise DataError(f"{folder}: no usable image among {of}; the first: {bad[0]}")
    if len(bad) > _MAX_SKIPPED * of:
        shown = "; ".join(bad[:_SHOWN]) + (f"; and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else "")
        raise DataError(
            f"{folder}: {len(bad)} of {of} images do not open, over 0.1 %: {shown}; repair or remove them"
        )
    return [f"{len(bad)} of {of} images do not open and are skipped: {'; '.join(bad)}"] if bad else []


def _splits(division: Division, read: Read) -> Iterator[Split]:
    """The parts, as views of the array that was read."""
    start = 0
    for part in division.parts:
        labels = [file.label for file in part if file.path in read.hashes]
        end = start + len(labels)
        yield Split(pixels_NSSC=read.pixels_NSSC[start:end], labels_N=np.array(labels, np.int64))
        start = end


def _fingerprint(folder: Path, hashes: Mapping[Path, str]) -> str:
    """Of the contents of the files in use and where they lie in the folder."""
    lines = sorted(f"{path.relative_to(folder).as_posix()} {sha256}" for path, sha256 in hashes.items())
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:16]
