"""Images that stay in their files until they are needed, and then in a cache if there is one."""

import os
import warnings
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import overload

import numpy as np

from mvit2_search.errors import DataError
from mvit2_search.task.data.cache import Cache, Kept, Slots, cache_key, slot_bytes
from mvit2_search.task.data.dataset import Item, Places, Squares, centre
from mvit2_search.task.data.decode import Decoded, Deep, Ranges, Shape, Unreadable
from mvit2_search.task.data.images import Read, common_ranges, in_threads
from mvit2_search.task.data.source import Source, read_image

_AT_A_TIME = 256  # images


class Paths(Sequence[str]):
    """Many paths in one piece of memory, which processes share and which is passed on quickly."""

    def __init__(self, paths: Iterable[str]) -> None:
        text, ends = bytearray(), array("q", [0])
        for path in paths:
            text += path.encode("utf-8", "surrogateescape")
            ends.append(len(text))
        self._text, self._ends = text, np.array(ends)

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...
    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        if isinstance(place, slice):
            return [self[at] for at in range(*place.indices(len(self)))]
        if not 0 <= place < len(self):
            raise IndexError(place)
        return self._text[self._ends[place] : self._ends[place + 1]].decode("utf-8", "surrogateescape")


class AllRanges:
    """The ranges of values of all images of more than 8 bits. They are looked for when there is such an image."""

    def __init__(self, source: Source, paths: Sequence[Paths], shape: Shape, kept: Kept | None) -> None:
        self._source, self._paths, self._shape, self._kept = source, paths, shape, kept
        self.known: Ranges = kept.ranges if kept else {}

    def look(self) -> None:
        """Read all images, unless somebody has done it."""
        self.known = (self._kept.ranges if self._kept else {}) or self._found()
        if self._kept:
            self._kept.ranges = self.known

    def _found(self) -> Ranges:
        deep: list[Deep] = []
        for paths in self._paths:
            read = in_threads(partial(self._deep, paths), range(len(paths)))
            deep += [one for one in read.values() if one is not None]
        return common_ranges(deep)

    def _deep(self, paths: Paths, place: int) -> Deep | None:
        found = read_image(self._source, paths[place], self._shape, {})
        return found if isinstance(found, Deep) else None


@dataclass(kw_only=True)
class Stored:
    """Images of one shape with their classes, classes mixed.

    Attributes:
        changed_N: time of the last change of each file when it was listed; one that has changed since is not kept.
        slots: where decoded images are kept.
        faults: files that do not open, and why, as far as this process has read them.
    """

    source: Source
    paths: Paths
    labels_N: np.ndarray  # int64
    changed_N: np.ndarray  # int64
    shape: Shape
    ranges: AllRanges
    slots: Slots | None
    faults: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.paths)

    def item(self, place: int) -> Item:
        """An image with its class, or the next one whose file opens; raises DataError if none does."""
        for at in range(place, place + len(self)):
            (pixels_HWC,) = self.images([at % len(self)])
            if pixels_HWC is not None:
                return Item(pixels_HWC, int(self.labels_N[at % len(self)]))
        raise DataError(f"none of {len(self)} images opens; the first: {self.paths[0]}")

    def squares(self, places: Places, size: int | None = None) -> Squares:
        """Read by several threads."""
        images = self.images(places)
        good_N = np.array([at for at, image in enumerate(images) if image is not None], np.int64)
        side = size or self.shape.size
        squares = [centre(image, side) for image in images if image is not None]
        return Squares(np.stack(squares) if squares else np.empty((0, side, side, 3), np.uint8), good_N)

    def images(self, places: Places) -> list[np.ndarray | None]:
        """uint8 [H, W, 3], not to be written to; None where a file does not open."""
        found = [self.slots.get(place) if self.slots else None for place in places]
        missing = [at for at, image in enumerate(found) if image is None]
        read = self._read([places[at] for at in missing])
        if any(isinstance(image, Deep) for image in read):
            self.ranges.look()
            read = self._read([places[at] for at in missing])
        for at, image in zip(missing, read, strict=True):
            if isinstance(image, Decoded):
                found[at] = image.pixels_HWC
            else:
                self.faults[self.paths[places[at]]] = image.why if isinstance(image, Unreadable) else "is changing"
        return found

    def _read(self, places: Sequence[int]) -> list[Decoded | Deep | Unreadable]:
        if len(places) > 1:
            return list(in_threads(self._read_one, places).values())
        with warnings.catch_warnings(action="ignore"):  # Pillow's, about odd files
            return [self._read_one(place) for place in places]

    def _read_one(self, place: int) -> Decoded | Deep | Unreadable:
        path = self.paths[place]
        found = read_image(self.source, path, self.shape, self.ranges.known)
        if self.slots and isinstance(found, Decoded) and not self._has_changed(place, path):
            self.slots.put(place, found.pixels_HWC, found.sha256)
        return found

    def _has_changed(self, place: int, path: str) -> bool:
        try:
            ((_, changed),) = self.source.stamps([path])
        except OSError:
            return True
        return changed != int(self.changed_N[place])


def read_on_disk(paths: Sequence[str], shape: Shape, *, source: Source, cache: Cache) -> Read | None:
    """What `read_images` gives, but the array lies in the cache; None if that does not take all images."""
    if not cache.takes(len(paths), shape):
        return None
    try:
        stamps = list(source.stamps(paths))
    except OSError as err:
        raise DataError(f"{err.filename}: {err.strerror}") from err
    lines = (f"{os.path.abspath(path)} {size} {when}" for path, (size, when) in zip(paths, stamps, strict=True))
    kept = cache.opened(cache_key(chain([str(shape)], lines)), len(paths) * slot_bytes(shape))
    slots = kept.slots("all", len(paths), shape) if kept else None
    if slots is None:
        return None
    images = Stored(
        source=source,
        paths=Paths(paths),
        labels_N=np.empty(0, np.int64),
        changed_N=np.array([when for _, when in stamps]),
        shape=shape,
        ranges=AllRanges(source, [Paths(paths)], shape, kept),
        slots=slots,
    )
    for start in range(0, len(paths), _AT_A_TIME):
        images.images(range(start, min(start + _AT_A_TIME, len(paths))))
    if images.faults:
        good = [path for path in paths if path not in images.faults]
        read = read_on_disk(good, shape, source=source, cache=cache) if good else None
        return read and replace(read, bad=images.faults | read.bad)
    if any(slots.get(at) is None for at in range(len(paths))):
        return None
    return Read(
        pixels_NSSC=slots.array(),
        hashes={path: slots.sha256(at) for at, path in enumerate(paths)},
        bad={},
        ranges=images.ranges.known,
    )
