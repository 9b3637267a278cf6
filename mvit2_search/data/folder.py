"""A user's own images, one sub-folder per class, as a data set: found, divided, read.

images/cat/1.jpg  images/dog/2.png                      three parts, 60 / 20 / 20 % of every class
images/train/cat/1.jpg ...  images/val/cat/9.jpg ...    confirmation from val/ or test/, the rest from train/
images/train/...  images/val/...  images/test/...       selection from val/, confirmation from test/
"""

import hashlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np

from mvit2_search.data.classes import Folder, find_images
from mvit2_search.data.dataset import Dataset, Split
from mvit2_search.data.decode import Decoded, Unreadable, decode
from mvit2_search.data.division import Division, Labelled, divide
from mvit2_search.data.remarks import copies_remarks, layout_remarks
from mvit2_search.errors import DataError

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
    paths = [file.path for part in division.parts for file in part]
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor() as pool:  # Pillow's, of odd files
        images = dict(zip(paths, pool.map(lambda path: decode(path, image_size), paths), strict=True))
    good = {path: image for path, image in images.items() if isinstance(image, Decoded)}
    bad = [f"{path}: {image.why}" for path, image in images.items() if isinstance(image, Unreadable)]
    _judge(folder, bad, read=len(paths))
    hashes = {path: image.sha256 for path, image in good.items()}
    skipped = [f"{len(bad)} of {len(paths)} images do not open and are skipped: {'; '.join(bad)}"] if bad else []
    return Dataset(
        name=str(folder),
        classes=tuple(found.train),
        train=_split(division.train, good),
        selection=_split(division.selection, good),
        confirmation=_split(division.confirmation, good),
        fingerprint=_fingerprint(folder, hashes),
        notes=(*layout_remarks(folder, found), *copies_remarks(folder, division, hashes), *skipped),
    )


def first_of_folder(folder: Path, *, image_size: int, count: int, results: Iterable[Path]) -> np.ndarray:
    """The first `count` selection images that open, uint8 RGB [N, S, S, 3]; the others are not opened.

    Raises:
        DataError: as `load_folder` does.
    """
    files = _division(folder, 1, results)[1].selection
    with warnings.catch_warnings(action="ignore"):
        opened = (decode(file.path, image_size) for file in files)
        good = list(islice((image.pixels_SSC for image in opened if isinstance(image, Decoded)), count))
    if not good:
        raise DataError(f"{folder}: none of {len(files)} selection images opens")
    return np.stack(good)


def _division(folder: Path, max_train: int, results: Iterable[Path]) -> tuple[Folder, Division]:
    try:
        found = find_images(folder, results)
    except OSError as err:
        raise DataError(f"{err.filename}: {err.strerror}") from err
    return found, divide(folder, found.train, found.val, found.test, max_train=max_train)


def _judge(folder: Path, bad: Sequence[str], *, read: int) -> None:
    if len(bad) == read:
        raise DataError(f"{folder}: no usable image among {read}; the first: {bad[0]}")
    if len(bad) > _MAX_SKIPPED * read:
        shown = "; ".join(bad[:_SHOWN]) + (f"; and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else "")
        raise DataError(
            f"{folder}: {len(bad)} of {read} images do not open, over 0.1 %: {shown}; repair or remove them"
        )


def _split(files: Sequence[Labelled], good: Mapping[Path, Decoded]) -> Split:
    kept = [file for file in files if file.path in good]
    return Split(
        pixels_NSSC=np.stack([good[file.path].pixels_SSC for file in kept]),
        labels_N=np.array([file.label for file in kept], np.int64),
    )


def _fingerprint(folder: Path, hashes: Mapping[Path, str]) -> str:
    """Of the contents of the files in use and where they lie in the folder."""
    lines = sorted(f"{path.relative_to(folder).as_posix()} {sha256}" for path, sha256 in hashes.items())
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:16]
