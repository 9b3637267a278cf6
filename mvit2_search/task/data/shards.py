"""A folder of WebDataset shards: tar files that hold images and, beside each, the number of its class.

    shards/train-000000.tar ...  shards/val-000000.tar ...      cat-7.jpg and cat-7.cls are one sample
    shards/train/000000.tar ...  shards/val/000000.tar ...
    shards/classnames.txt                                       the name of a class in each line, if it is there

Tar files are read at any place, as the order of images follows from the seed and not from the shards.
"""

import errno
import os
import re
import tarfile
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from mvit2_search.errors import DataError, first_line
from mvit2_search.system.text import counted
from mvit2_search.task.data.decode import image_endings
from mvit2_search.task.data.folder import Folder, part_named
from mvit2_search.task.data.images import in_threads
from mvit2_search.task.data.numbered import Numbered, by_part, numbered_folder
from mvit2_search.task.data.stored import Paths
from mvit2_search.task.data.walk import Walker, relative

_NAMES = ("classnames.txt", "classes.txt")
_BLOCK = 512  # bytes
_EXPECTED = "expected samples of an image and the number of its class, such as 1.jpg and 1.cls"


class Shard(NamedTuple):
    """The images in a tar file, by name."""

    names: Paths
    starts: "array[int]"  # in bytes
    sizes: "array[int]"
    numbers: "array[int]"  # of the classes


class Shards:
    """Tar files below a folder. The path of an image is that of its tar file and its name in it."""

    def __init__(self, root: Path, shards: Mapping[str, Shard]) -> None:
        self._root, self._shards = root, shards  # by the path below the folder

    def read(self, path: str) -> bytes:
        """Opens the file each time: there may be more than a process may keep open."""
        name, shard, at = self._find(path)
        with (self._root / name).open("rb", buffering=0) as file:
            data = os.pread(file.fileno(), shard.sizes[at], shard.starts[at])
        if len(data) < shard.sizes[at]:
            raise OSError(errno.EIO, "its tar file has become shorter", path)
        return data

    def stamps(self, paths: Iterable[str]) -> Iterator[tuple[int, int]]:
        changed = {name: (self._root / name).stat().st_mtime_ns for name in self._shards}
        for path in paths:
            name, shard, at = self._find(path)
            yield shard.sizes[at], changed[name]

    def _find(self, path: str) -> tuple[str, Shard, int]:
        """The tar file of an image, and its place there."""
        name, _, inside = relative(self._root)(path).partition(".tar/")
        shard = self._shards[f"{name}.tar"]
        return f"{name}.tar", shard, bisect_left(shard.names, inside)


def find_shards(root: Path, results: Iterable[Path]) -> Folder | None:
    """What is in the shards below `root`; None if there are none, or there are images in folders.

    Raises DataError if a shard cannot be read, or images and classes are not as expected.
    """
    files = [path for folder in (root, *_parts(root)) for path in sorted(folder.glob("*.tar")) if path.is_file()]
    if not files or _has_images(root, Walker(root, results)):
        return None
    names = [path.relative_to(root).as_posix() for path in files]
    found = in_threads(lambda at: _indexed(files[at]), range(len(files)))
    shards = dict(zip(names, found.values(), strict=True))
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_part_word(root, name), []).append(name)
    unnamed = groups.pop("", []) if len(groups) > 1 else []
    parts = {
        part: Numbered(name, *_images(root, {one: shards[one] for one in some}))
        for part, (name, some) in by_part(root, groups).items()
    }
    unused = [f"{counted(len(unnamed), 'tar file')} whose names say no part"] if unnamed else []
    return numbered_folder(root, Shards(root, shards), parts, _ClassNames(root), unused=unused)


def _parts(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if part_named(path.name) and path.is_dir())


def _has_images(root: Path, walker: Walker) -> bool:
    """Whether a folder below it holds image files: then these are the data set."""
    return any(walker.below(folder).images for folder in walker.folders(root))


def _part_word(root: Path, name: str) -> str:
    """The word that says of which part a tar file is, or nothing; raises DataError if there are several."""
    folder, _, file = name.rpartition("/")
    words = {folder} if folder else {word for word in re.split(r"[^A-Za-z]+", file) if part_named(word)}
    if len(words) > 1:
        raise DataError(f"{root}: {name} names several parts, {' and '.join(sorted(words))}; rename it")
    return "".join(words)


def _images(root: Path, shards: Mapping[str, Shard]) -> tuple[list[str], "array[int]"]:
    """The paths of the images and the numbers of their classes."""
    paths, numbers = list[str](), array("q")
    for name, shard in shards.items():
        start = os.path.join(root, name, "")
        paths += [start + image for image in shard.names]
        numbers += shard.numbers
    return paths, numbers


class _ClassNames:
    """Of a class by its number: its line in a file beside the shards, or the number as text."""

    def __init__(self, root: Path) -> None:
        self._path, self._lines = root, list[str]()
        for path in (root / name for name in reversed(_NAMES)):
            with suppress(FileNotFoundError):
                self._path, self._lines = path, path.read_text("utf-8-sig", errors="replace").splitlines()

    def __call__(self, number: int) -> str:
        if not self._lines:
            return str(number)
        if number >= len(self._lines):
            raise DataError(
                f"{self._path}: has {counted(len(self._lines), 'line')}, and a class has the number {number}; "
                "write a line for each class, from 0"
            )
        return self._lines[number].strip() or str(number)


class _Member(NamedTuple):
    name: str
    start: int
    size: int


def _indexed(path: Path) -> Shard:
    """The images of a tar file; raises DataError."""
    try:
        with tarfile.open(path, "r:") as tar:
            return _shard(path, tar)
    except (tarfile.TarError, EOFError, OverflowError) as err:
        raise DataError(f"{path}: no readable tar file: {first_line(err)}; get or write it again, unpacked") from err
    except OSError as err:
        raise DataError(f"{path}: {err.strerror}") from err


def _shard(path: Path, tar: tarfile.TarFile) -> Shard:
    images, numbers, endings = dict[str, _Member](), dict[str, int](), image_endings()
    for member in _members(tar):
        folder, slash, base = member.name.rpartition("/")
        key, dot, ending = base.partition(".")
        key, ending = folder + slash + key, dot + ending.lower()
        if ending == ".cls":
            numbers[key] = _number(path, tar, member)
        elif ending in endings and not base.startswith("."):
            if images.setdefault(key, member).name != member.name:
                raise DataError(
                    f"{path}: two images for one class, {images[key].name} and {member.name}; {_EXPECTED}"
                )
    if missing := images.keys() - numbers.keys():
        first = images[min(missing)].name
        raise DataError(f"{path}: {len(missing)} of {len(images)} images have no class, as {first}; {_EXPECTED}")
    if not images:
        raise DataError(f"{path}: no images; {_EXPECTED}")
    found = sorted((image, numbers[key]) for key, image in images.items())
    return Shard(
        names=Paths(image.name for image, _ in found),
        starts=array("q", [image.start for image, _ in found]),
        sizes=array("q", [image.size for image, _ in found]),
        numbers=array("q", [number for _, number in found]),
    )


def _number(path: Path, tar: tarfile.TarFile, member: _Member) -> int:
    text = _at(tar, member.start, min(member.size, _BLOCK))
    try:
        return int(text)
    except ValueError:
        shown = text[:20].decode(errors="replace")
        raise DataError(f"{path}: {member.name} is {shown!r} and no number of a class; {_EXPECTED}") from None


def _members(tar: tarfile.TarFile) -> Iterator[_Member]:
    """The files in a tar file. Plain headers are read here, five times as fast as tarfile does; it reads others."""
    position, end = 0, os.fstat(_file(tar)).st_size
    while True:
        header = _at(tar, position, _BLOCK)
        if header == bytes(_BLOCK):
            return
        kind, size = header[156:157], _octal(header[124:136])
        if _octal(header[148:156]) != sum(header) - sum(header[148:156]) + 8 * ord(" ") or size is None:
            kind = b""
        start = position + _BLOCK
        if kind in (b"0", b"\0") and size is not None:
            yield _checked(_Member(_name(header), start, size), end)
        elif kind == b"x" and size is not None and _says_times_alone(_at(tar, start, size)):
            pass
        else:
            tar.offset = position
            ...
        position = start + -(-size // _BLOCK) * _BLOCK
