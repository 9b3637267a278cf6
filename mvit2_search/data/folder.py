"""A user's own images: one sub-folder per class, split the same way every time.

    images/cat/1.jpg  images/dog/2.png                    three parts, 60 / 20 / 20 % of every class
    images/train/cat/1.jpg ...  images/val/cat/9.jpg ...  confirmation from val/, the rest from train/

Which image goes where depends on its path inside the folder and nothing else.
"""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from mvit2_search.data.dataset import Dataset, Split
from mvit2_search.data.decode import Decoded, Unreadable, decode, is_image
from mvit2_search.errors import DataError

_TEST_SHARE, _MAX_TEST = 0.2, 5_000  # of selection and of confirmation
_MAX_SKIPPED = 0.001  # share of images that may fail to open
_SHOWN = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class _File:
    path: Path
    label: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Parts:
    """Which file is used for what, before any is opened."""

    classes: tuple[str, ...]
    train: list[_File]
    selection: list[_File]
    confirmation: list[_File]
    ignored: int


def load_folder(folder: Path, *, image_size: int, max_train: int) -> Dataset:
    """The images below `folder`, scaled and centre-cropped to `image_size`, as RGB.

    Up to 5,000 images to select by and to confirm with and up to `max_train` to train on are read, in
    the classes' proportions.

    Raises:
        DataError: no image, one class, a class without images, or more than 0.1 % that do not open.
    """
    try:
        parts = _find(folder, max_train)
    except OSError as err:
        raise DataError(f"{err.filename}: {err.strerror}") from err
    paths = [file.path for part in (parts.train, parts.selection, parts.confirmation) for file in part]
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor() as pool:  # Pillow's, of odd files
        images = dict(zip(paths, pool.map(lambda path: decode(path, image_size), paths), strict=True))
    good = {path: image for path, image in images.items() if isinstance(image, Decoded)}
    bad = [f"{path}: {image.why}" for path, image in images.items() if isinstance(image, Unreadable)]
    _judge(folder, bad, read=len(paths))
    ignored = [f"{parts.ignored} files that are no images were left out"] if parts.ignored else []
    skipped = [f"{len(bad)} of {len(paths)} images do not open and are skipped: {'; '.join(bad)}"] if bad else []
    return Dataset(
        name=str(folder),
        classes=parts.classes,
        train=_split(parts.train, good),
        selection=_split(parts.selection, good),
        confirmation=_split(parts.confirmation, good),
        fingerprint=_fingerprint(folder, good),
        notes=(*ignored, *skipped),
    )


def first_of_folder(folder: Path, *, image_size: int, count: int) -> np.ndarray:
    """The first `count` selection images that open, uint8 RGB [N, S, S, 3]; the others are not opened.

    Raises:
        DataError: as `load_folder` does.
    """
    try:
        files = _find(folder, max_train=1).selection
    except OSError as err:
        raise DataError(f"{err.filename}: {err.strerror}") from err
    with warnings.catch_warnings(action="ignore"):
        opened = (decode(file.path, image_size) for file in files)
        good = list(islice((image.pixels_SSC for image in opened if isinstance(image, Decoded)), count))
    if not good:
        raise DataError(f"{folder}: none of {len(files)} selection images opens")
    return np.stack(good)


def _find(folder: Path, max_train: int) -> _Parts:
    has_train, has_val = (_has_folders(folder / name) for name in ("train", "val"))
    if has_val and not has_train:
        raise DataError(f"{folder}: has val/ but no train/")
    found, ignored = _by_class(folder / "train" if has_train else folder)
    if has_val:
        held_out, ignored_too = _by_class(folder / "val")
        ignored += ignored_too
        if odd := sorted(found.keys() ^ held_out.keys()):
            raise DataError(f"{folder}: class {odd[0]!r} is in only one of train/ and val/")
        share = _test_share(found)
    else:
        share = _test_share(found)
        found, held_out = _cut(folder, found, share)
        share /= 1 - share  # of what is left
    train, selection = _cut(folder, found, share)
    return _Parts(
        classes=tuple(found),
        train=_mixed(folder, train, max_train),
        selection=_mixed(folder, selection, _MAX_TEST),
        confirmation=_mixed(folder, held_out, _MAX_TEST),
        ignored=ignored,
    )


def _has_folders(folder: Path) -> bool:
    """Whether it holds classes: a folder of images may itself be a class named train."""
    return folder.is_dir() and any(path.is_dir() for path in folder.iterdir())


def _by_class(root: Path) -> tuple[dict[str, list[Path]], int]:
    """Files that should be images per class, and how many other files there were."""
    endings = {ending for ending, name in Image.registered_extensions().items() if name in Image.OPEN} | {".mpo"}
    found: dict[str, list[Path]] = {}
    ignored = 0
    for folder in sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")):
        files = [p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")]
        found[folder.name] = [p for p in files if p.suffix.lower() in endings or (not p.suffix and is_image(p))]
        ignored += len(files) - len(found[folder.name])
    if not any(found.values()):
        raise DataError(f"{root}: no images; expected one sub-folder of images per class")
    if empty := [name for name, files in found.items() if not files]:
        raise DataError(f"{root / empty[0]}: no images in this class; remove the folder or fill it")
    if len(found) < 2:
        raise DataError(f"{root}: only one class, {next(iter(found))!r}; two are needed to tell apart")
    return found, ignored


def _test_share(found: dict[str, list[Path]]) -> float:
    return min(_TEST_SHARE, _MAX_TEST / sum(map(len, found.values())))


def _cut(
    folder: Path, found: dict[str, list[Path]], share: float
) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """Each class in two: the most, and `share` of it but at least one image."""
    most, rest = {}, {}
    for name, files in found.items():
        ordered = sorted(files, key=lambda path: _rank(folder, path))
        count = max(1, round(share * len(files)))
        rest[name], most[name] = ordered[:count], ordered[count:]
        if not most[name]:
            raise DataError(f"{folder}: class {name!r} has too few images to train on and to test with")
    return most, rest


def _mixed(folder: Path, found: dict[str, list[Path]], most: int) -> list[_File]:
    """At most about `most` images in the classes' proportions, one of each at least, classes mixed."""
    share = min(1.0, most / sum(map(len, found.values())))
    kept = []
    for label, files in enumerate(found.values()):
        ordered = sorted(files, key=lambda path: _rank(folder, path))
        kept += [_File(path=path, label=label) for path in ordered[: max(1, round(share * len(files)))]]
    return sorted(kept, key=lambda file: _rank(folder, file.path, "order "))


def _rank(folder: Path, path: Path, salt: str = "") -> bytes:
    """A fixed shuffle for each salt: the place of a file depends on its own path alone."""
    name = salt + path.relative_to(folder).as_posix()
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()


def _judge(folder: Path, bad: Sequence[str], *, read: int) -> None:
    if len(bad) == read:
        raise DataError(f"{folder}: no usable image among {read}; the first: {bad[0]}")
    if len(bad) > _MAX_SKIPPED * read:
        shown = "; ".join(bad[:_SHOWN]) + (f"; and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else "")
        raise DataError(
            f"{folder}: {len(bad)} of {read} images do not open, over 0.1 %: {shown}; repair or remove them"
        )


def _split(files: Sequence[_File], good: Mapping[Path, Decoded]) -> Split:
    kept = [file for file in files if file.path in good]
    return Split(
        pixels_NSSC=np.stack([good[file.path].pixels_SSC for file in kept]),
        labels_N=np.array([file.label for file in kept], np.int64),
    )


def _fingerprint(folder: Path, good: Mapping[Path, Decoded]) -> str:
    """Of the contents of the files in use and where they lie in the folder."""
    lines = sorted(f"{path.relative_to(folder).as_posix()} {image.sha256}" for path, image in good.items())
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:16]
