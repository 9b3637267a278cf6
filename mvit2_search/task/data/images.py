"""Image files into one array of pixels.

Whether a data set fits into memory, before it is read.

Files into one array, by as many threads as there are processors.
"""

import os
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mvit2_search.errors import DataError
from mvit2_search.task.data.decode import Decoded, Deep, Depth, Ranges, Unreadable, decode

_SYSTEM, _OWN, _GROUPS = Path("/proc/meminfo"), Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
# of both versions of control groups: the limit, what is used, the part of it that gives way: cached files
_FILES = {
    "": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def pixel_array(count: int, size: int, channels: int, *, name: str) -> np.ndarray:
    """Room for `count` square images, uint8 [N, S, S, C], not filled yet.

    Raises:
        DataError: they are larger than the memory that is free.
    """
    needed, free = count * size * size * channels, free_bytes()
    if free is not None and needed > free:
        raise out_of_memory(count, size, channels, name=name)
    try:
        return np.empty((count, size, size, channels), np.uint8)
    except MemoryError as err:
        raise out_of_memory(count, size, channels, name=name) from err


def out_of_memory(count: int, size: int, channels: int, *, name: str) -> DataError:
    """What to say where the images of a data set need more than there is."""
    needed, free = count * size * size * channels, free_bytes()
    left = (
        f"and {_size(free)} are free" if free is not None and needed > free else "more than this process may have"
    )
    return DataError(
        f"{name}: {count:,} images of {size} x {size} pixels take {_size(needed)} of memory, {left}; "
        "use a smaller `image_size`, or fewer images by `images_per_epoch`"
    )


def free_bytes() -> int | None:
    """Memory that can be used without swapping: what the system has left, or a container's limit if that is less.

    Where the system does not say what is left, all of its memory; None where it does not say that either.
    """
    return min([*_system_bytes(), *_group_bytes()], default=None)


def _system_bytes() -> list[int]:
    lines = _SYSTEM.read_text().splitlines() if _SYSTEM.exists() else []
    if available := [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]:
        return available
    return [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")] if hasattr(os, "sysconf") else []


def _group_bytes() -> list[int]:
    """What the limits of this process's control groups and those above them leave."""
    found = []
    for kind, folder in _own_groups():
        found += [_left_in(group, *_FILES[kind]) for group in (folder, *folder.parents)]
    return [left for left in found if left is not None]


def _own_groups() -> list[tuple[str, Path]]:
    """The control groups that may limit the memory, by what `_FILES` calls them."""
    try:
        lines = [line.split(":", 2) for line in _OWN.read_text().splitlines()]
    except OSError:  # not Linux
        return []
    own = [(kind, path.lstrip("/")) for _, kinds, path in lines for kind in kinds.split(",") if kind in _FILES]
    return [(kind, _GROUPS / kind / path) for kind, path in own]


def _left_in(group: Path, limit: str, used: str, gives_way: str) -> int | None:
    try:
        left = int((group / limit).read_text()) - int((group / used).read_text())
        counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such group, or "max": no limit
        return None
    return max(0, left + int(counts.get(gives_way, 0)))


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


_AT_A_TIME = 256  # files that are handed to the threads
_CHANNELS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """The images that opened, in the order of their files.

    Attributes:
        pixels_NSSC: uint8.
        hashes: of the contents of these files.
        bad: the others and why.
        ranges: what is black and white in those of more than 8 bits, where there are some.
    """

    pixels_NSSC: np.ndarray
    hashes: dict[Path, str]
    bad: dict[Path, str]
    ranges: Ranges


class _Reader:
    """Decodes files into their places in the array."""

    def __init__(self, paths: Sequence[Path], size: int, pixels_NSSC: np.ndarray) -> None:
        self.paths, self.size, self.pixels_NSSC = paths, size, pixels_NSSC
        self.hashes: dict[Path, str] = {}
        self.bad: dict[Path, str] = {}

    def read(self, places: Sequence[int], ranges: Ranges) -> dict[int, Deep]:
        """Read the files of these places, but those whose range is not known, which are returned."""
        deep: dict[int, Deep] = {}
        with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor() as pool:  # Pillow's, of odd files
            for start in range(0, len(places), _AT_A_TIME):
                some = places[start : start + _AT_A_TIME]
                for at, result in zip(some, pool.map(lambda at: self._decoded(at, ranges), some), strict=True):
                    match result:
                        case str():
                            self.hashes[self.paths[at]] = result
                        case Unreadable(why=why):
                            self.bad[self.paths[at]] = why
                        case Deep():
                            deep[at] = result
        return deep

    def _decoded(self, at: int, ranges: Ranges) -> str | Deep | Unreadable:
        image = decode(self.paths[at], self.size, ranges)
        if not isinstance(image, Decoded):
            return image
        self.pixels_NSSC[at] = image.pixels_SSC
        return image.sha256


def read_images(paths: Sequence[Path], size: int, *, name: str) -> Read:
    """Decode files straight into the array that is returned: pixels are in memory once.

    Images of more than 8 bits are read a second time, once the range of all their values is known.

    Raises:
        DataError: there is not enough memory.
    """
    pixels_NSSC = pixel_array(len(paths), size, _CHANNELS, name=name)
    reader = _Reader(paths, size, pixels_NSSC)
    try:
        deep = reader.read(range(len(paths)), {})
        ranges = _common_ranges(deep.values())
        reader.read(list(deep), ranges)
    except MemoryError as err:
        raise out_of_memory(len(paths), size, _CHANNELS, name=name) from err
    kept = _kept(pixels_NSSC, [path in reader.hashes for path in paths])
    return Read(pixels_NSSC=kept, hashes=reader.hashes, bad=reader.bad, ranges=ranges)


def read_first(paths: Iterable[Path], size: int, *, count: int) -> list[np.ndarray]:
    """The pixels of the first `count` images that open; those of more than 8 bits in the range of these alone."""
    found: list[tuple[Path, Decoded | Deep]] = []
    with warnings.catch_warnings(action="ignore"):
        for path in paths:
            image = decode(path, size, {})
            if not isinstance(image, Unreadable):
                found.append((path, image))
            if len(found) == count:
                break
        ranges = _common_ranges(image for _, image in found if isinstance(image, Deep))
        images = [decode(path, size, ranges) if isinstance(image, Deep) else image for path, image in found]
    return [image.pixels_SSC for image in images if isinstance(image, Decoded)]


def _common_ranges(images: Iterable[Deep]) -> Ranges:
    """From the least to the largest value of all images: one range, so that brighter stays brighter."""
    ranges: dict[Depth, tuple[float, float]] = {}
    for image in images:
        low, high = ranges.get(image.depth, (image.low, image.high))
        ranges[image.depth] = min(low, image.low), max(high, image.high)
    return ranges


def _kept(pixels_NSSC: np.ndarray, keep: Sequence[bool]) -> np.ndarray:
    """Those to keep, moved up in the same memory."""
    places = np.flatnonzero(keep)
    for to, at in enumerate(places):
        if to != at:
            pixels_NSSC[to] = pixels_NSSC[at]
    return pixels_NSSC[: len(places)]
