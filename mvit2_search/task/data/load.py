"""Loads a data set: `fashion-mnist-mini` by its name, or a folder with one sub-folder of images per class.

images/cat/1.jpg  images/dog/2.png                      three splits, 60 / 20 / 20 % of every class
images/train/cat/1.jpg ...  images/val/cat/9.jpg ...    confirmation from val/ or test/, the rest from train/
images/train/...  images/val/...  images/test/...       selection from val/, confirmation from test/

The same in WebDataset shards (`shards.py`), or saved by Hugging Face's datasets (`arrow.py`).

`fashion-mnist-mini` comes with this package: per class 800 images to train on and 500 to select by, from
Fashion-MNIST's training images, and 500 to confirm with, from its test images. Its files are built by
`scripts/build_fashion_mnist_mini.py`; licence: fashion_mnist_mini/NOTICE.
"""

import bz2
import hashlib
import io
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from mvit2_search.errors import DataError
from mvit2_search.system.text import counted, first_few
from mvit2_search.task.data.arrow import find_saved
from mvit2_search.task.data.cache import Cache
from mvit2_search.task.data.dataset import Dataset, Division, Labelled, Split, divide
from mvit2_search.task.data.decode import Ranges, Shape, needs_plugin, plugin_hints
from mvit2_search.task.data.folder import NO_CLASSES, Folder, find_images, part_named
from mvit2_search.task.data.images import Read, first_readable, pixel_array, read_images
from mvit2_search.task.data.shards import find_shards
from mvit2_search.task.data.stored import read_on_disk
from mvit2_search.task.data.walk import names_below, relative, skipped_notes

FASHION_MNIST_MINI = "fashion-mnist-mini"
CLASSES = (
    *("t-shirt", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle-boot"),
)
TRAIN, SELECTION, CONFIRMATION = 8_000, 5_000, 5_000
FOLDER = Path(__file__).parent / "fashion_mnist_mini"


def load_fashion_mnist_mini(image_size: int) -> Dataset:
    """With its 28 x 28 images scaled to `image_size`."""
    packed = [(FOLDER / f"{name}.npy.bz2").read_bytes() for name in ("images", "labels")]
    images_NSS, labels_N = map(_unpacked, packed)
    pixels_NSSC = _scaled(images_NSS, image_size)
    bounds = [TRAIN, TRAIN + SELECTION]
    parts = zip(np.split(pixels_NSSC, bounds), np.split(labels_N.astype(np.int64), bounds), strict=True)
    train, selection, confirmation = (Split(pixels_NSSC=pixels, labels_N=labels) for pixels, labels in parts)
    return Dataset(
        name=FASHION_MNIST_MINI,
        classes=CLASSES,
        train=train,
        selection=selection,
        confirmation=confirmation,
        fingerprint=hashlib.sha256(b"".join(packed)).hexdigest()[:16],
    )


def _unpacked(data: bytes) -> np.ndarray:
    array: np.ndarray = np.load(io.BytesIO(bz2.decompress(data)))
    return array


def _scaled(images_NSS: np.ndarray, size: int) -> np.ndarray:
    pixels_NSSC = pixel_array(len(images_NSS), size, 1, name=FASHION_MNIST_MINI)
    for image_SS, out_SSC in zip(images_NSS, pixels_NSSC, strict=True):
        out_SSC[..., 0] = Image.fromarray(image_SS).resize((size, size), Image.Resampling.BILINEAR)
    return pixels_NSSC


_PACKED = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar", ".zst")


def load_dataset(
    name_or_folder: str,
    *,
    image_size: int,
    max_train: int,
    results: Iterable[Path] = (),
    cache: Cache | None = None,
) -> Dataset:
    """Load `fashion-mnist-mini`, or the images of a folder, scaled and centre-cropped to `image_size`, as RGB.

    Of a folder, up to 5,000 images to select by and to confirm with and up to `max_train` to train on are read, in
    the classes' proportions. Raises DataError if there are no such images, or they cannot be used.

    Args:
        results: results folders, which may be among the images and are not read.
        cache: where decoded images are kept; without it they are kept in memory.
    """
    if name_or_folder == FASHION_MNIST_MINI:
        return load_fashion_mnist_mini(image_size)
    folder, found, division = _divided(name_or_folder, max_train, results)
    paths = [file.path for part in division for file in part]
    shape, source = Shape(image_size), found.source
    on_disk = None if cache is None else read_on_disk(paths, shape, source=source, cache=cache)
    read = on_disk or read_images(paths, shape, name=str(folder), source=source)
    check_faults(str(folder), read.bad, len(paths))
    train, selection, confirmation = splits(read, division)
    if train.pixels_NSSC.min() == train.pixels_NSSC.max():
        raise DataError(f"{folder}: all pixels of all training images are equal; there is nothing to learn")
    dataset = Dataset(
        name=str(folder),
        classes=tuple(found.classes),
        train=train,
        selection=selection,
        confirmation=confirmation,
        fingerprint=fingerprint(folder, read.hashes),
    )
    notes = (
        *folder_notes(found),
        *copy_notes(folder, division, read.hashes),
        *value_notes(read.ranges, train.pixels_NSSC),
        *fault_notes(read.bad, len(paths)),
        *balance_notes(dataset),
    )
    return replace(dataset, notes=notes)


def load_images(name_or_folder: str, *, image_size: int, count: int, results: Iterable[Path] = ()) -> np.ndarray:
    """Only the first `count` images that a search would select by, uint8 [N, S, S, 1 or 3]; see `load_dataset`."""
    if name_or_folder == FASHION_MNIST_MINI:
        images_NSS = _unpacked((FOLDER / "images.npy.bz2").read_bytes())
        return _scaled(images_NSS[TRAIN : TRAIN + count], image_size)
    folder, found, division = _divided(name_or_folder, 1, results)
    shape, paths = Shape(image_size), [file.path for file in division.selection]
    good = first_readable(paths, shape, found.source, count=count)
    if not good:
        raise DataError(f"{folder}: none of {len(paths)} selection images opens")
    return read_images(good, shape, name=str(folder), source=found.source).pixels_NSSC


def _divided(name: str, max_train: int, results: Iterable[Path]) -> tuple[Path, Folder, Division]:
    folder, found = found_images(name, results)
    files = {name: part.classes for name, part in found.parts.items()}
    return folder, found, divide(folder, files, max_train=max_train)


def found_images(name: str, results: Iterable[Path]) -> tuple[Path, Folder]:
    """The folder of that name and what is in it; raises DataError if there is none, or it holds no classes."""
    folder = Path(name)
    if folder.is_file():
        packed = folder.suffix.lower() in _PACKED
        what = "unpack it and give the folder" if packed else "give the folder of the classes"
        raise DataError(f"{folder}: is a file; {what}")
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder, and the one shipped data set is {FASHION_MNIST_MINI}")
    try:
        with warnings.catch_warnings(action="ignore"):  # Pillow's, about odd files
            found = find_saved(folder) or find_shards(folder, results) or find_images(folder, results)
    except OSError as err:
        raise DataError(f"{err.filename}: {err.strerror}") from err
    return folder, found


def check_faults(name: str, faults: Mapping[str, str], of: int) -> None:
    """Raises DataError if too many of so many images do not open."""
    bad = [f"{path}: {why}" for path, why in faults.items()]
    if len(bad) == of:
        raise DataError(f"{name}: no usable image among {of}; the first: {bad[0]}")
    if len(bad) > of / 1000:
        raise DataError(
            f"{name}: {len(bad)} of {of} images do not open, over 0.1 %: {first_few(bad)}; repair or remove them"
        )


def fault_notes(faults: Mapping[str, str], of: int) -> list[str]:
    """Which of so many images do not open."""
    bad = [f"{path}: {why}" for path, why in faults.items()]
    return [f"{len(bad)} of {of} images do not open and are skipped: {'; '.join(bad)}"] if bad else []


def splits(read: Read, parts: Iterable[list[Labelled]]) -> Iterator[Split]:
    """Views of the array that was read, of files that were read in this order."""
    start = 0
    for part in parts:
        labels = [file.label for file in part if file.path in read.hashes]
        end = start + len(labels)
        yield Split(pixels_NSSC=read.pixels_NSSC[start:end], labels_N=np.array(labels, np.int64))
        start = end


def fingerprint(folder: Path, contents: Mapping[str, str]) -> str:
    """Of the relative paths of the files in use, and of what tells their contents."""
    name = relative(folder)
    lines = sorted(f"{name(path)} {content}" for path, content in contents.items())
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:16]


# Notes: what a user should know about a data set, in sentences

_LOW_CONTRAST = 32  # of 256 levels


def folder_notes(folder: Folder) -> Iterator[str]:
    """How the folder is read, and what in it is not used."""
    match [f"{part.path.name}/" for part in folder.parts.values()]:
        case [train, select, confirm]:
            yield f"{train} to train on, {select} to select by, {confirm} to confirm with"
        case [train, confirm]:
            yield f"{train} to train on and, a share of it, to select by; {confirm} to confirm with"
    if doubtful := [f"{name}/" for name in folder.classes if name.lower() in NO_CLASSES]:
        yield f"{first_few(doubtful)}: read as a class; if it is none, move it elsewhere"
    if alike := [f"{name}/" for name in folder.classes if part_named(name)]:
        yield f"{first_few(alike)}: read as a class, as it holds images but no classes; if it is none, rename it"
    lower = Counter(name.casefold() for name in folder.classes)
    if twins := [name for name in folder.classes if lower[name.casefold()] > 1]:
        yield f"classes that differ in capitals alone: {first_few(twins)}"
    if folder.unused:
        yield f"not used: {first_few(folder.unused)}"
    if beside := sum(len(found.images) for found in folder.beside):
        yield f"{counted(beside, 'image')} beside the class folders, not used"
    others = [path for found in folder.below for path in found.others]
    yield from plugin_hints(others)
    if left_out := sum(not needs_plugin(path) for path in others):
        yield f"{counted(left_out, 'non-image file')} left out"
    yield from skipped_notes(folder.root, folder.found)


def copy_notes(root: Path, division: Division, hashes: Mapping[str, str]) -> Iterator[str]:
    """How many images are in two splits, or in two classes, by the hashes of their files."""
    train, selection, confirmation = ([hashes.get(file.path) for file in part] for part in division)
    selected = _count_in({*train}, selection)
    confirmed = _count_in({*train, *selection}, confirmation)
    if selected or confirmed:
        yield (
            f"{selected} of {len(selection)} selection images and {confirmed} of {len(confirmation)} confirmation "
            "images are exact copies of images in the parts before them: accuracies come out too high"
        )
    if mixed := _in_two_classes(root, division, hashes):
        yield f"{counted(len(mixed), 'image')} in two classes: {first_few(mixed)}"


def _count_in(known: set[str | None], hashes: list[str | None]) -> int:
    return sum(one in known and one is not None for one in hashes)


def _in_two_classes(root: Path, division: Division, hashes: Mapping[str, str]) -> list[str]:
    """For contents that are in several classes, the first file in each."""
    first: dict[str, dict[int, str]] = {}
    for file in sorted((file for part in division for file in part), key=lambda file: file.path):
        if file.path in hashes:
            first.setdefault(hashes[file.path], {}).setdefault(file.label, file.path)
    return [" = ".join(names_below(root, found.values())) for found in first.values() if len(found) > 1]


def value_notes(ranges: Ranges, pixels_NSSC: np.ndarray) -> Iterator[str]:
    """How images of more than 8 bits were scaled, and whether the training images have little contrast."""
    for depth, (low, high) in ranges.items():
        kind = "floating-point" if depth == "float" else "integer"
        scale = f"from {low:g} (black) to {high:g} (white)"
        yield f"{kind} images of more than 8 bits: scaled {scale}, in all parts alike"
    darkest, brightest = _most_values(pixels_NSSC)
    if brightest - darkest < _LOW_CONTRAST and _median_contrast(pixels_NSSC) < _LOW_CONTRAST:
        yield (
            f"low contrast: 90 % of the training images' values lie from {darkest} to {brightest} of 255; clip "
            "outliers first, and stretch dark 16-bit colour images, which are read as 8-bit"
        )


def _most_values(pixels_NSSC: np.ndarray) -> tuple[int, int]:
    """The interval that holds 90 % of the values."""
    counts = sum(np.bincount(image.ravel(), minlength=256) for image in pixels_NSSC)
    low, high = np.searchsorted(np.cumsum(counts) / pixels_NSSC.size, [0.05, 0.95])
    return int(low), int(high)


def _median_contrast(pixels_NSSC: np.ndarray) -> float:
    """From the lowest to the highest value of an image; a few lines on white are contrast too."""
    return float(np.median(pixels_NSSC.max((1, 2, 3)).astype(int) - pixels_NSSC.min((1, 2, 3))))


def balance_notes(dataset: Dataset) -> Iterator[str]:
    if dataset.is_unbalanced:
        counts = [*zip(dataset.images_per_class, dataset.classes, strict=True)]
        (least, small), (most, large) = min(counts), max(counts)
        yield (
            f"the classes are unbalanced, from {least} images in use ({small}) to {most} ({large}): balanced "
            "accuracy, the mean over the classes, is shown beside plain accuracy, which the search optimises"
        )
