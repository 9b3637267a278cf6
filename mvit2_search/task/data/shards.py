"""A folder of WebDataset shards: tar files that hold images and, beside each, the number of its class.

    shards/train-000000.tar ...  shards/val-000000.tar ...      7.jpg and 7.cls in a tar file are one sample
    shards/train/000000.tar ...  shards/val/000000.tar ...
    shards/classnames.txt                                       a line for each class, if it is there

Images are read from anywhere in a tar file, as their order follows from the seed, not from the shards.
"""

import errno
import os
import re
import tarfile
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

from mvit2_search.errors import DataError, first_line
from mvit2_search.system.text import counted
from mvit2_search.task.data.decode import image_endings
from mvit2_search.task.data.folder import Folder, part_named
from mvit2_search.task.data.images import in_threads
from mvit2_search.task.data.numbered import Numbered, by_part, numbered_folder
from mvit2_search.task.data.stored import Paths
from mvit2_search.task.data.tar import Member, members, read_at
from mvit2_search.task.data.walk import Walker

_NAMES = ("classnames.txt", "classes.txt")
_LONGEST_NUMBER = 100  # bytes
_EXPECTED = "expected one image and the number of its class for each sample, such as 7.jpg and 7.cls"


class Shard(NamedTuple):
    """The images in a tar file, ordered by name."""

    names: Paths
    starts: "array[int]"  # in bytes
    sizes: "array[int]"
    numbers: "array[int]"  # of their classes


class Shards:
    """Tar files below a folder. The path of an image is that of its tar file and its name in it."""

    def __init__(self, root: Path, shards: Mapping[str, Shard]) -> None:
        self._root, self._shards = root, shards  # by the path below the folder
        self._start = len(str(root / "x")) - 1  # where the path below the folder begins

    def read(self, path: str) -> bytes:
        """Opens the tar file each time: there may be more than a process can keep open."""
        name, shard, at = self._find(path)
        with (self._root / name).open("rb", buffering=0) as file:
            data = os.pread(file.fileno(), shard.sizes[at], shard.starts[at])
        if len(data) < shard.sizes[at]:
            raise OSError(errno.EIO, "its tar file has become shorter", path)
        return data

    def stamps(self, paths: Iterable[str]) -> Iterator[tuple[int, int]]:
        changed: dict[str, int] = {}
        for path in paths:
            name, shard, at = self._find(path)
            if name not in changed:
                changed[name] = (self._root / name).stat().st_ctime_ns
            yield shard.sizes[at], changed[name]

    def _find(self, path: str) -> tuple[str, Shard, int]:
        """The tar file of an image, and its place there."""
        name, _, image = path[self._start :].partition(".tar/")
        shard = self._shards[f"{name}.tar"]
        return f"{name}.tar", shard, bisect_left(shard.names, image)


def find_shards(root: Path, results: Iterable[Path]) -> Folder | None:
    """The images in shards below `root`; None if there are no tar files, or a folder holds image files.

    Raises DataError if they cannot be used; OSError if they cannot be read.
    """
    files = [path for folder in (root, *_parts(root)) for path in sorted(folder.glob("*.tar")) if path.is_file()]
    if not files or _holds_images(root, results):
        return None
    names = [path.relative_to(root).as_posix() for path in files]
    shards = dict(zip(names, in_threads(lambda at: _shard(files[at]), range(len(files))).values(), strict=True))
    groups: dict[str, dict[str, Shard]] = {}
    for name, shard in shards.items():
        groups.setdefault(_part_word(root, name), {})[name] = shard
    unnamed = groups.pop("", {}) if len(groups) > 1 else {}
    return numbered_folder(
        root,
        Shards(root, shards),
        {part: Numbered(name, *_images(root, some)) for part, (name, some) in by_part(root, groups).items()},
        ClassNames(root),
        unused=[f"{counted(len(unnamed), 'tar file')} of no part, {next(iter(unnamed))}"] if unnamed else (),
    )


def _parts(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if part_named(path.name) and path.is_dir())


def _holds_images(root: Path, results: Iterable[Path]) -> bool:
    """Whether a folder below it holds image files. Then these are the data set."""
    walker = Walker(root, results)
    return any(walker.below(folder).images for folder in walker.folders(root))


def _part_word(root: Path, name: str) -> str:
    """The word that says of which part a tar file is, or nothing; raises DataError if there are several."""
    folder, _, file = name.rpartition("/")
    words = {folder} if folder else {word for word in re.split(r"[^A-Za-z]+", file) if part_named(word)}
    if len(words) > 1:
        raise DataError(f"{root}: {name} names several parts, {' and '.join(sorted(words))}; rename it")
    return "".join(words)


def _images(root: Path, shards: Mapping[str, Shard]) -> tuple[list[str], "array[int]"]:
    """The paths of the images in some shards, and the numbers of their classes."""
    paths, numbers = list[str](), array("q")
    for name, shard in shards.items():
        start = str(root / name)
        paths += [f"{start}/{image}" for image in shard.names]
        numbers += shard.numbers
    return paths, numbers


class ClassNames:
    """The name of a class by its number: its line in a file beside the shards, or else the number as text."""

    def __init__(self, root: Path) -> None:
        self._lines = list[str]()
        for path in (root / name for name in reversed(_NAMES)):
            with suppress(FileNotFoundError):
                self._lines = path.read_text("utf-8-sig", errors="replace").splitlines()
                self._path = path

    def __call__(self, number: int) -> str:
        if not self._lines:
            return str(number)
        if number >= len(self._lines):
            raise DataError(
                f"{self._path}: has {counted(len(self._lines), 'line')}, and a class has the number {number}; "
                "write a line for each class, from number 0"
            )
        return self._lines[number].strip() or str(number)


def _shard(path: Path) -> Shard:
    """The images of a tar file; raises DataError."""
    try:
        with path.open("rb") as file:
            images, numbers = _samples(path, file)
    except (tarfile.TarError, ValueError) as err:
        remedy = "get or write it again, not compressed"
        raise DataError(f"{path}: a damaged tar file, or none: {first_line(err)}; {remedy}") from err
    if missing := sorted(image.name for key, image in images.items() if key not in numbers):
        found = f"{len(missing)} of {len(images)} images have no class, the first: {missing[0]}"
        raise DataError(f"{path}: {found}; {_EXPECTED}")
    ordered = sorted((image, numbers[key]) for key, image in images.items())
    return Shard(
        names=Paths(image.name for image, _ in ordered),
        starts=array("q", [image.start for image, _ in ordered]),
        sizes=array("q", [image.size for image, _ in ordered]),
        numbers=array("q", [number for _, number in ordered]),
    )


def _samples(path: Path, file: IO[bytes]) -> tuple[dict[str, Member], dict[str, int]]:
    """The image and the number of the class of each sample, whose name ends at the first dot of the last part."""
    images, numbers, endings = dict[str, Member](), dict[str, int](), image_endings()
    for member in members(file):
        folder, slash, base = member.name.rpartition("/")
        name, dot, ending = base.partition(".")
        key, ending = folder + slash + name, dot + ending.lower()
        if not name:  # hidden
            continue
        if ending == ".cls":
            numbers[key] = _number(path, member, read_at(file, member.start, min(member.size, _LONGEST_NUMBER)))
        elif ending in endings:
            if (other := images.get(key, member).name) != member.name:
                raise DataError(f"{path}: two images in one sample, {other} and {member.name}; {_EXPECTED}")
            images[key] = member
    return images, numbers


def _number(path: Path, member: Member, text: bytes) -> int:
    try:
        return int(text)
    except ValueError:
        raise DataError(f"{path}: {member.name} holds {text[:20]!r}, which is no number; {_EXPECTED}") from None
