"""Reads many image files into one array of pixels, by threads.

Shape letters of this package: N images, S side in pixels, C channels (1 grey, 3 RGB).
"""

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np

from mvit2_search.errors import DataError
from mvit2_search.system.memory import free_bytes
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


def read_images(paths: Sequence[str], shape: Shape, *, name: str, source: Source) -> Read:
    """Decode files to squares, straight into one array, so pixels are in memory once; raises like `pixel_array`.

    Images of more than 8 bits are read again once the range of all their values is known.
    """
    pixels_NSSC = pixel_array(len(paths), shape.size, 3, name=name)

    def read_one(at: int, ranges: Ranges) -> _Result:
        image = read_image(source, paths[at], shape, ranges)
        if not isinstance(image, Decoded):
            return image
        pixels_NSSC[at] = image.pixels_HWC
        return image.sha256

    try:
        found = in_threads(lambda at: read_one(at, {}), range(len(paths)))
        deep = {at: one for at, one in found.items() if isinstance(one, Deep)}
        ranges = common_ranges(deep.values())
        found |= in_threads(lambda at: read_one(at, ranges), list(deep))
    except MemoryError as err:
        raise _out_of_memory(pixels_NSSC.shape, name=name) from err
    return Read(
        pixels_NSSC=_compacted(pixels_NSSC, [at for at, one in found.items() if isinstance(one, str)]),
        hashes={paths[at]: one for at, one in found.items() if isinstance(one, str)},
        bad={paths[at]: one.why for at, one in found.items() if isinstance(one, Unreadable)},
        ranges=ranges,
    )


def in_threads(read: Callable[[int], T], places: Sequence[int] | np.ndarray) -> dict[int, T]:
    """What `read` gives for each place, computed in a few more threads than there are processors."""
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
