"""The train/selection/confirmation split: which image is used for what.

It depends on an image's path inside the folder only, so the same folder is always split the same way.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

Files = Mapping[str, Sequence[Path]]
"""The images of each class."""

_TEST_SHARE, _MAX_TEST = 0.2, 5_000  # of selection and of confirmation


class Labelled(NamedTuple):
    """An image and the index of its class."""

    path: Path
    label: int


class Division(NamedTuple):
    """The files of each split, before any is opened; classes are mixed."""

    train: list[Labelled]
    selection: list[Labelled]
    confirmation: list[Labelled]


def images_needed(held_out: int) -> int:
    """Least training images of a class: one for each split that is cut from them, given the parts that are not."""
    return 3 - held_out


def divide(folder: Path, parts: Mapping[str, Files], *, max_train: int) -> Division:
    """Select by `val` and confirm with `test`; a missing one is cut from the training images.

    If only one of them is given, it is for the confirmation, which the search must not see.

    Args:
        parts: `train`, and `val` and `test` if there are such, with the same classes in the same order;
            `images_needed` of each class in `train`.
    """
    train, val, test = (parts.get(name, {}) for name in ("train", "val", "test"))
    selection, confirmation = (val, test) if val and test else (None, val or test or None)
    share = min(_TEST_SHARE, _MAX_TEST / _count(train))
    if confirmation is None:
        train, confirmation = _cut(folder, train, share)
        share /= 1 - share  # of what is left
    if selection is None:
        train, selection = _cut(folder, train, share)
    return Division(
        train=_mixed(folder, train, max_train),
        selection=_mixed(folder, selection, _MAX_TEST),
        confirmation=_mixed(folder, confirmation, _MAX_TEST),
    )


def _count(files: Files) -> int:
    return sum(map(len, files.values()))


def _cut(folder: Path, files: Files, share: float) -> tuple[Files, Files]:
    """Each class in two: most of it, and `share` of it but at least one image."""
    most, rest = {}, {}
    for name, paths in files.items():
        ordered = sorted(paths, key=lambda path: _rank(folder, path))
        count = max(1, round(share * len(paths)))
        rest[name], most[name] = ordered[:count], ordered[count:]
    return most, rest


def _mixed(folder: Path, files: Files, most: int) -> list[Labelled]:
    """About `most` images at most, in the classes' proportions but at least one of each, classes mixed."""
    share = min(1.0, most / _count(files))
    kept = []
    for label, paths in enumerate(files.values()):
        ordered = sorted(paths, key=lambda path: _rank(folder, path))
        kept += [Labelled(path=path, label=label) for path in ordered[: max(1, round(share * len(paths)))]]
    return sorted(kept, key=lambda file: _rank(folder, file.path, "order "))


def _rank(folder: Path, path: Path, salt: str = "") -> bytes:
    """Sorting by this is a fixed shuffle for each salt."""
    name = salt + path.relative_to(folder).as_posix()
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
