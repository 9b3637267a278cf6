"""Which image is used for what.

It depends on its path inside the folder and on nothing else, so that the same folder is divided the same way
every time.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Files = Mapping[str, Sequence[Path]]
"""The images of each class."""

_TEST_SHARE, _MAX_TEST = 0.2, 5_000  # of selection and of confirmation


@dataclass(frozen=True, kw_only=True, slots=True)
class Labelled:
    """An image and the place of its class among the classes."""

    path: Path
    label: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Division:
    """Which file is used for what, before any is opened; classes are mixed in each part."""

    train: list[Labelled]
    selection: list[Labelled]
    confirmation: list[Labelled]

    @property
    def parts(self) -> tuple[list[Labelled], list[Labelled], list[Labelled]]:
        return self.train, self.selection, self.confirmation


def images_needed(held_out: int) -> int:
    """How many training images a class needs where so many parts are held out: one for each part cut from them."""
    return 3 - held_out


def divide(folder: Path, train: Files, val: Files | None, test: Files | None, *, max_train: int) -> Division:
    """Select by `val` and confirm with `test`; what is not there is cut from the training images.

    One held-out part alone is for the confirmation, which the search must not see.

    Args:
        train, val, test: with the same classes in the same order, `images_needed` of each in `train`.
    """
    selection, confirmation = (val, test) if val is not None and test is not None else (None, val or test)
    share = _test_share(train)
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


def _test_share(files: Files) -> float:
    return min(_TEST_SHARE, _MAX_TEST / sum(map(len, files.values())))


def _cut(folder: Path, files: Files, share: float) -> tuple[Files, Files]:
    """Each class in two: the most, and `share` of it but at least one image."""
    most, rest = {}, {}
    for name, paths in files.items():
        ordered = sorted(paths, key=lambda path: _rank(folder, path))
        count = max(1, round(share * len(paths)))
        rest[name], most[name] = ordered[:count], ordered[count:]
    return most, rest


def _mixed(folder: Path, files: Files, most: int) -> list[Labelled]:
    """At most about `most` images in the classes' proportions, one of each at least, classes mixed."""
    share = min(1.0, most / sum(map(len, files.values())))
    kept = []
    for label, paths in enumerate(files.values()):
        ordered = sorted(paths, key=lambda path: _rank(folder, path))
        kept += [Labelled(path=path, label=label) for path in ordered[: max(1, round(share * len(paths)))]]
    return sorted(kept, key=lambda file: _rank(folder, file.path, "order "))


def _rank(folder: Path, path: Path, salt: str = "") -> bytes:
    """A fixed shuffle for each salt: the place of a file depends on its own path alone."""
    name = salt + path.relative_to(folder).as_posix()
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
