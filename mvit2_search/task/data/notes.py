"""Notes: what a user should know about a data set, in sentences."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from mvit2_search.system.text import counted, first_few
from mvit2_search.task.data.dataset import Dataset, Division, Split
from mvit2_search.task.data.decode import needs_plugin, plugin_hints
from mvit2_search.task.data.folder import NO_CLASSES, Folder, part_named
from mvit2_search.task.data.images import Read
from mvit2_search.task.data.walk import names_below, skipped_notes

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


def copy_notes(root: Path, division: Division, hashes: Mapping[Path, str]) -> Iterator[str]:
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


def _in_two_classes(root: Path, division: Division, hashes: Mapping[Path, str]) -> list[str]:
    """For contents that are in several classes, the first file in each."""
    first: dict[str, dict[int, Path]] = {}
    for file in sorted((file for part in division for file in part), key=lambda file: file.path):
        if file.path in hashes:
            first.setdefault(hashes[file.path], {}).setdefault(file.label, file.path)
    return [" = ".join(names_below(root, found.values())) for found in first.values() if len(found) > 1]


def value_notes(read: Read, train: Split) -> Iterator[str]:
    """How images of more than 8 bits were scaled, and whether the training images have little contrast."""
    for depth, (low, high) in read.ranges.items():
        kind = "floating-point" if depth == "float" else "integer"
        scale = f"from {low:g} (black) to {high:g} (white)"
        yield f"{kind} images of more than 8 bits: scaled {scale}, in all parts alike"
    darkest, brightest = _most_values(train)
    if brightest - darkest < _LOW_CONTRAST and _median_contrast(train) < _LOW_CONTRAST:
        yield (
            f"low contrast: 90 % of the training images' values lie from {darkest} to {brightest} of 255; clip "
            "outliers first, and stretch dark 16-bit colour images, which are read as 8-bit"
        )


def _most_values(train: Split) -> tuple[int, int]:
    """The interval that holds 90 % of the values."""
    counts = sum(np.bincount(image.ravel(), minlength=256) for image in train.pixels_NSSC)
    low, high = np.searchsorted(np.cumsum(counts) / train.pixels_NSSC.size, [0.05, 0.95])
    return int(low), int(high)


def _median_contrast(train: Split) -> float:
    """From the lowest to the highest value of an image; a few lines on white are contrast too."""
    pixels_NSSC = train.pixels_NSSC
    return float(np.median(pixels_NSSC.max((1, 2, 3)).astype(int) - pixels_NSSC.min((1, 2, 3))))


def balance_notes(dataset: Dataset) -> Iterator[str]:
    if dataset.is_unbalanced:
        counts = [*zip(dataset.images_per_class, dataset.classes, strict=True)]
        (least, small), (most, large) = min(counts), max(counts)
        yield (
            f"the classes are unbalanced, from {least} images in use ({small}) to {most} ({large}): balanced "
            "accuracy, the mean over the classes, is shown beside plain accuracy, which the search optimises"
        )
