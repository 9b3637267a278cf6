"""Files into one array, all of them by as many threads as there are processors."""

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mvit2_search.data.decode import Unreadable, decode
from mvit2_search.data.memory import out_of_memory, pixel_array

_AT_A_TIME = 256  # files that are handed to the threads
_CHANNELS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """The images that opened, in the order of their files.

    Attributes:
        pixels_NSSC: uint8.
        hashes: of the contents of these files.
        bad: the others and why.
    """

    pixels_NSSC: np.ndarray
    hashes: dict[Path, str]
    bad: dict[Path, str]


def read_images(paths: Sequence[Path], size: int, *, name: str) -> Read:
    """Decode files straight into the array that is returned: pixels are in memory once.

    Raises:
        DataError: there is not enough memory.
    """
    pixels_NSSC = pixel_array(len(paths), size, _CHANNELS, name=name)
    hashes: dict[Path, str] = {}
    bad: dict[Path, str] = {}

    def read(at: int) -> str | Unreadable:
        image = decode(paths[at], size)
        if isinstance(image, Unreadable):
            return image
        pixels_NSSC[at] = image.pixels_SSC
        return image.sha256

    try:
        with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor() as pool:  # Pillow's, of odd files
            for start in range(0, len(paths), _AT_A_TIME):
                some = range(start, min(start + _AT_A_TIME, len(paths)))
                for at, result in zip(some, pool.map(read, some), strict=True):
                    if isinstance(result, Unreadable):
                        bad[paths[at]] = result.why
                    else:
                        hashes[paths[at]] = result
    except MemoryError as err:
        raise out_of_memory(len(paths), size, _CHANNELS, name=name) from err
    return Read(pixels_NSSC=_kept(pixels_NSSC, [path in hashes for path in paths]), hashes=hashes, bad=bad)


def _kept(pixels_NSSC: np.ndarray, keep: Sequence[bool]) -> np.ndarray:
    """Those to keep, moved up in the same memory."""
    places = np.flatnonzero(keep)
    for to, at in enumerate(places):
        if to != at:
            pixels_NSSC[to] = pixels_NSSC[at]
    return pixels_NSSC[: len(places)]
