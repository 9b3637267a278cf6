"""What a data set's user should know of it, in sentences.

Names of files, in words.

What a user should know of a folder of images, in sentences.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from mvit2_search.system.text import counted
from mvit2_search.task.data.classes import Folder, again_remarks, dangling_remarks, studies_remarks, tools_remarks
from mvit2_search.task.data.dataset import Dataset, Split
from mvit2_search.task.data.decode import needs_plugin, plugin_hints
from mvit2_search.task.data.images import Read
from mvit2_search.task.data.layout import NO_CLASSES, Division, part_named
from mvit2_search.task.data.walk import names_below, shown

_FEW_LEVELS = 32  # of 256


def layout_remarks(root: Path, folder: Folder) -> Iterator[str]:
    """How the folder is read, and what lies in it and is not used."""
    yield from _parts(folder)
    if none := [f"{name}/" for name in folder.train if name.lower() in NO_CLASSES]:
        yield f"{shown(none)}: read as a class; move it elsewhere if it is none"
    if alike := [f"{name}/" for name in folder.train if part_named(name)]:
        yield f"{shown(alike)}: read as a class, as there are images but no classes in it; rename it if it is none"
    lower = Counter(name.casefold() for name in folder.train)
    if twins := [name for name in folder.train if lower[name.casefold()] > 1]:
        yield f"classes that differ in capitals alone: {shown(twins)}"
    if folder.unused:
        yield f"not used: {shown(folder.unused)}"
    if beside := sum(len(found.images) for found in folder.beside):
        lie = "image lies" if beside == 1 else "images lie"
        yield f"{beside} {lie} beside the folders of the classes, not used"
    others = [path for found in folder.below for path in found.others]
    yield from plugin_hints(others)
    if left_out := sum(not needs_plugin(path) for path in others):
        are = "file that is no image was" if left_out == 1 else "files that are no images were"
        yield f"{left_out} {are} left out"
    yield from _links(root, folder)


def copies_remarks(root: Path, division: Division, hashes: Mapping[Path, str]) -> Iterator[str]:
    """How many images are there twice where it matters: in two parts, or in two classes.

    Args:
        hashes: of the contents of the files in use.
    """
    train, selection, confirmation = ([hashes.get(file.path) for file in part] for part in division.parts)
    selected = _copies(selection, of=train)
    confirmed = _copies(confirmation, of=[*train, *selection])
    if selected or confirmed:
        yield (
            f"{selected} of {len(selection)} selection images and {confirmed} of {len(confirmation)} confirmation "
            "images are exact copies of images in the parts before them: accuracies come out too high"
        )
    if mixed := _in_two_classes(root, division, hashes):
        yield f"{counted(len(mixed), 'image')} in two classes: {shown(mixed)}"


def value_remarks(read: Read, train: Split) -> Iterator[str]:
    """What became of values that are not those of 8 bits, and where hardly a difference is left."""
    for depth, (low, high) in read.ranges.items():
        kind = "floating-point" if depth == "float" else "integer"
        span = f"values from {low:g} (black) to {high:g} (white)"
        yield f"{kind} images of more than 8 bits: {span}, in all parts alike"
    low, high = _usual_values(train)
    if high - low < _FEW_LEVELS and _usual_span(train) < _FEW_LEVELS:
        yield (
            f"90 % of the training images' values lie from {low} to {high} of 255: hardly a difference is left; "
            "cut off outliers first, and stretch dark colours of 16 bits, which are read at 8"
        )


def _usual_values(train: Split) -> tuple[int, int]:
    """What 90 % of the values lie between, by how often each of the 256 is there."""
    counts = sum(np.bincount(image.ravel(), minlength=256) for image in train.pixels_NSSC)
    low, high = np.searchsorted(np.cumsum(counts) / train.pixels_NSSC.size, [0.05, 0.95])
    return int(low), int(high)


def _usual_span(train: Split) -> float:
    """Between the least and the largest value of an image: few lines on white are a difference, too."""
    pixels_NSSC = train.pixels_NSSC
    return float(np.median(pixels_NSSC.max((1, 2, 3)).astype(int) - pixels_NSSC.min((1, 2, 3))))


def balance_remarks(dataset: Dataset) -> Iterator[str]:
    """Which classes are small beside others."""
    if dataset.is_unbalanced:
        least, most = (
            choose(zip(dataset.images_per_class, dataset.classes, strict=True)) for choose in (min, max)
        )
        yield (
            f"the classes are unbalanced, from {least[0]} images in use ({least[1]}) to {most[0]} ({most[1]}): "
            "balanced accuracy, the mean over the classes, is given beside the plain one, which the search goes by"
        )


def _parts(folder: Folder) -> Iterator[str]:
    """Where selection and confirmation come from, in a folder that has parts."""
    match [f"{path.name}/" for path, _ in folder.parts]:
        case [train, select, confirm]:
            yield f"{train} to train on, {select} to select by, {confirm} to confirm with"
        case [train, confirm]:
            yield f"{train} to train on and, a share of it, to select by; {confirm} to confirm with"


def _links(root: Path, folder: Folder) -> Iterator[str]:
    yield from dangling_remarks(folder)
    yield from again_remarks(folder)
    yield from tools_remarks(folder)
    yield from studies_remarks(folder)


def _copies(hashes: Sequence[str | None], *, of: Sequence[str | None]) -> int:
    there = set(of) - {None}
    return sum(one in there for one in hashes)


def _in_two_classes(root: Path, division: Division, hashes: Mapping[Path, str]) -> list[str]:
    """The first file in each class, of contents that are in several."""
    first: dict[str, dict[int, Path]] = {}
    for file in sorted((file for part in division.parts for file in part), key=lambda file: file.path):
        if file.path in hashes:
            first.setdefault(hashes[file.path], {}).setdefault(file.label, file.path)
    return [" = ".join(names_below(root, list(found.values()))) for found in first.values() if len(found) > 1]
