"""Images that stay in their files until they are needed, and then in a cache if there is one."""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import overload

import numpy as np

from mvit2_search.errors import DataError
from mvit2_search.task.data.cache import Slots
from mvit2_search.task.data.dataset import Item, Places, Squares, centre
from mvit2_search.task.data.decode import Decoded, Deep, Ranges, Shape, Unreadable
from mvit2_search.task.data.images import common_ranges, in_threads
from mvit2_search.task.data.source import Source, read_image


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

    def __init__(self, source: Source, paths: Sequence[Paths], shape: Shape) -> None:
        self._source, self._paths, self._shape = source, paths, shape
        self.known: Ranges = {}

    def look(self) -> None:
        """Read all images."""
        deep: list[Deep] = []
        for paths in self._paths:
            found = in_threads(partial(self._deep, paths), range(len(paths)))
            deep += [one for one in found.values() if one is not None]
        self.known = common_ranges(deep)

    def _deep(self, paths: Paths, place: int) -> Deep | None:
        found = read_image(self._source, paths[place], self._shape, {})
        return found if isinstance(found, Deep) else None


@dataclass(kw_only=True)
class Stored:
    """Images of one shape with their classes, classes mixed.

    Attributes:
        faults: files that do not open, and why, as far as this process has read them.
    """

    source: Source
    paths: Paths
    labels_N: np.ndarray  # int64
    shape: Shape
    ranges: AllRanges
    slots: Slots | None
    faults: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.paths)

    def item(self, place: int) -> Item:
        """An image with its class, or the next one whose file opens; raises DataError if none does."""
        for at in range(place, place + len(self)):
            (pixels_HWC,) = self._images([at % len(self)])
            if pixels_HWC is not None:
                return Item(pixels_HWC, int(self.labels_N[at % len(self)]))
        raise DataError(f"none of {len(self)} images opens; the first: {self.paths[0]}")

    def squares(self, places: Places, size: int | None = None) -> Squares:
        """Read in as many threads as there are processors."""
        images = self._images(places)
        good_N = np.array([at for at, image in enumerate(images) if image is not None], np.int64)
        side = size or self.shape.size
        squares = [centre(image, side) for image in images if image is not None]
        return Squares(np.stack(squares) if squares else np.empty((0, side, side, 3), np.uint8), good_N)

    def _images(self, places: Places) -> list[np.ndarray | None]:
        """uint8 [H, W, 3], not to be written to; None where a file does not open."""
        found = [self._kept(place) for place in places]
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

    def _kept(self, place: int) -> np.ndarray | None:
        return self.slots.get(place) if self.slots else None

    def _read(self, places: Places) -> list[Decoded | Deep | Unreadable]:
        if len(places) < 2:
            return [self._read_one(place) for place in places]
        return list(in_threads(self._read_one, places).values())

    def _read_one(self, place: int) -> Decoded | Deep | Unreadable:
        found = read_image(self.source, self.paths[place], self.shape, self.ranges.known)
        if self.slots and isinstance(found, Decoded):
            self.slots.put(place, found.pixels_HWC, found.sha256)
        return found
