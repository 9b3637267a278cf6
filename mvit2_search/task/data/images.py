"""Reads many image files into one array of pixels, by as many threads as there are processors.

Shape letters of this package: N images, S side in pixels, C channels (1 grey, 3 RGB).
"""

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

import numpy as np

from mvit2_search.errors import DataError
from mvit2_search.system.memory import free_bytes
from mvit2_search.task.data.cache import Cache, cache_key
from mvit2_search.task.data.decode import Decoded, Deep, Depth, Ranges, Shape, Unreadable
from mvit2_search.task.data.source import Source, read_image

T = TypeVar("T")

_AT_A_TIME = 256  # files that are handed to the threads
_Result = str | Deep | Unreadable  # the hash of the file if its pixels were read


def pixel_array(count: int, size: int, channels: int, *, name: str) -> np.ndarray:
    """An empty array for `count` square images, uint8 [N, S, S, C]; raises DataError if memory is short."""
    shape, free = (count, size, size, channels), free_bytes()
    if free is not None and math.prod(shape) > free:
        raise _out_of_memory(shape, name=name)
    try:
        return np.empty(shape, np.uint8)
    except MemoryError as err:
        raise _out_of_memory(shape, name=name) from err


def _out_of_memory(shape: tuple[int, ...], *, name: str) -> DataError:
    needed, free = math.prod(shape), free_bytes()
    short = free is not None and needed > free
    left = f"and {_size(free or 0)} are free" if short else "more than this process may have"
    return DataError(
        f"{name}: {shape[0]:,} images of {shape[1]} x {shape[2]} pixels take {_size(needed)} of memory, {left}; "
        "use a smaller `image_size`, fewer images by `images_per_epoch`, or a larger `cache_gb`"
    )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """The images that could be read, in the order of their files."""

    pixels_NSSC: np.ndarray  # uint8
    hashes: dict[str, str]  # of the contents of these files
    bad: dict[str, str]  # the other files, and why
    ranges: Ranges


def read_images(
    paths: Sequence[str], shape: Shape, *, name: str, source: Source, cache: Cache | None = None
) -> Read:
    """Decode files to squares, straight into one array, so pixels are in memory once; raises like `pixel_array`.

    With a cache that has room for all of them, the array lies on disk and is not to be written to.
    Images of more than 8 bits are read again once the range of all their values is known.
    """
    if cache is not None and cache.takes(len(paths), shape):
        read = _read_on_disk(paths, shape, name, source, cache)
        if read is not None:
            return read
    pixels_NSSC = pixel_array(len(paths), shape.size, 3, name=name)

    def read_one(at: int, ranges: Ranges) -> _Result:
        image = read_image(source, paths[at], shape, ranges)
        if not isinstance(image, Decoded):
            return image
        pixels_NSSC[at] = image.pixels_HWC
        return image.sha256

    try:
        found, ranges = _read_all(read_one, len(paths), {})
    except MemoryError as err:
        raise _out_of_memory(pixels_NSSC.shape, name=name) from err
    good = [at for at, one in found.items() if isinstance(one, str)]
    return _read(paths, found, ranges, _compacted(pixels_NSSC, good))


def _read_on_disk(paths: Sequence[str], shape: Shape, name: str, source: Source, cache: Cache) -> Read | None:
    """None if the cache does not take all images."""
    slots = cache.slots(_key(paths, shape, source), len(paths), shape)
    if slots is None:
        return None

    def read_one(at: int, ranges: Ranges) -> _Result:
        if slots.get(at) is not None:
            return slots.sha256(at)
        image = read_image(source, paths[at], shape, ranges)
        if not isinstance(image, Decoded):
            return image
        slots.put(at, image.pixels_HWC, image.sha256)
        return image.sha256

    found, ranges = _read_all(read_one, len(paths), slots.ranges)
    slots.ranges = ranges
    if bad := {paths[at]: one.why for at, one in found.items() if isinstance(one, Unreadable)}:
        good = [path for path in paths if path not in bad]
        read = read_images(good, shape, name=name, source=source, cache=cache)
        return replace(read, bad=bad | read.bad)
    if any(slots.get(at) is None for at in range(len(paths))):
        return None
    return _read(paths, found, ranges, slots.array())


def _key(paths: Sequence[str], shape: Shape, source: Source) -> str:
    """Of these files' images in a cache; raises DataError if one has gone."""
    try:
        stamps = source.stamps(paths)
        lines = (f"{path} {size} {when}" for path, (size, when) in zip(paths, stamps, strict=True))
        return cache_key(shape, lines)
    except OSError as err:
        raise DataError(f"{err.filename}: {err.strerror}") from err


def _read(paths: Sequence[str], found: Mapping[int, _Result], ranges: Ranges, pixels_NSSC: np.ndarray) -> Read:
    return Read(
        pixels_NSSC=pixels_NSSC,
        hashes={paths[at]: one for at, one in found.items() if isinstance(one, str)},
        bad={paths[at]: one.why for at, one in found.items() if isinstance(one, Unreadable)},
        ranges=ranges,
    )


def _read_all(
    read: Callable[[int, Ranges], _Result], count: int, ranges: Ranges
) -> tuple[dict[int, _Result], Ranges]:
    """What there is at each place; those of more than 8 bits at last, by the range of all of them."""
    found = in_threads(lambda at: read(at, ranges), range(count))
    deep = {at: one for at, one in found.items() if isinstance(one, Deep)}
    ranges = {**ranges, **common_ranges(deep.values())}
    return found | in_threads(lambda at: read(at, ranges), list(deep)), ranges


def in_threads(read: Callable[[int], T], places: Sequence[int] | np.ndarray) -> dict[int, T]:
    """What `read` gives for each place, computed in as many threads as there are processors."""
    found: dict[int, T] = {}
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor() as pool:  # Pillow's, about odd files
        for start in range(0, len(places), _AT_A_TIME):
            some = places[start : start + _AT_A_TIME]
            found.update(zip(some, pool.map(read, some), strict=True))
    return found


def first_readable(paths: Iterable[str], shape: Shape, source: Source, *, count: int) -> list[str]:
    """The first `count` files that are usable images."""
    with warnings.catch_warnings(action="ignore"):
        readable = (path for path in paths if not isinstance(read_image(source, path, shape, {}), Unreadable))
        return list(islice(readable, count))


def common_ranges(images: Iterable[Deep]) -> Ranges:
    """From the least to the largest value of all images: one range, so that brighter stays brighter."""
    ranges: dict[Depth, tuple[float, float]] = {}
    for image in images:
        low, high = ranges.get(image.depth, (image.low, image.high))
        ranges[image.depth] = min(low, image.low), max(high, image.high)
    return ranges


def _compacted(pixels_NSSC: np.ndarray, places: Sequence[int]) -> np.ndarray:
    """The images at these places, moved up in the same memory."""
    for to, at in enumerate(places):
        if to != at:
            pixels_NSSC[to] = pixels_NSSC[at]
    return pixels_NSSC[: len(places)]
