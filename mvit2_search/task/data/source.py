"""Where image files come from. Every image has a path, whatever it is kept in."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from mvit2_search.task.data.decode import Decoded, Deep, Ranges, Shape, Unreadable, decode


class Source(Protocol):
    """Gives the contents of image files."""

    def read(self, path: str) -> bytes:
        """Raises OSError if it is not there."""

    def stamps(self, paths: Iterable[str]) -> Iterator[tuple[int, int]]:
        """Size in bytes and time of the last change of each, in nanoseconds; raises OSError.

        Not of the content alone (`st_mtime`), which tools that copy files set back.
        """


class ImageFiles:
    """Each image is a file."""

    def read(self, path: str) -> bytes:
        return Path(path).read_bytes()

    def stamps(self, paths: Iterable[str]) -> Iterator[tuple[int, int]]:
        for path in paths:
            status = os.stat(path)
            yield status.st_size, status.st_ctime_ns


def read_image(source: Source, path: str, shape: Shape, ranges: Ranges) -> Decoded | Deep | Unreadable:
    """An image of a source, decoded."""
    try:
        data = source.read(path)
    except OSError as err:
        return Unreadable(why=str(err.strerror))
    return decode(data, shape, ranges)
