"""Decoded images on disk, for what is read again. Processes and studies share them.

    <key>/pixels   a slot for each image, of equal sizes, uint8; a hole where none is kept
    <key>/index    a record for each slot

A slot is filled once its record says so, with a check value: neither a kill nor a power cut leaves half an image.
"""

import hashlib
import json
import mmap
import os
import shutil
import weakref
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from mvit2_search.errors import StorageError
from mvit2_search.store.folders import DECODED
from mvit2_search.system.files import write_atomically
from mvit2_search.task.data.decode import Ranges, Shape

_RECORD = np.dtype([("height", "<u4"), ("width", "<u4"), ("sha256", "S32"), ("check", "<u4")])
_RANGES = "ranges.json"
_CHECK_ROOM_EVERY = 64  # images
_OF_FREE = 0.9  # of the disk


def cache_key(shape: Shape, lines: Iterable[str]) -> str:
    """The name of images of this shape from files that these lines describe."""
    digest = hashlib.sha256(f"{shape} Pillow {PIL.__version__}\n".encode())
    for line in lines:
        digest.update(f"{line}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:24]


class Cache:
    """A folder of decoded images of about `limit` bytes at most; what was used longest ago goes first."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit

    def takes(self, count: int, shape: Shape) -> bool:
        """Whether so many images are within its limit."""
        return count * slot_bytes(shape) <= self._limit

    def slots(self, key: str, count: int, shape: Shape) -> "Slots | None":
        """For so many images; None if the folder cannot be used."""
        folder = self._folder / key
        try:
            folder.mkdir(parents=True, exist_ok=True)
            room = self._room(key, min(self._limit, count * slot_bytes(shape)))
            return Slots(folder, count, shape, room)
        except (OSError, ValueError, OverflowError):  # no right to write, or no file of that size
            return None

    def _room(self, key: str, needed: int) -> int:
        """Bytes that the images called `key` may take. Others make room."""
        others = [path for path in self._folder.iterdir() if path.name != key and (path / "index").exists()]
        others.sort(key=lambda path: (path / "index").stat().st_mtime)
        sizes = [_on_disk(path) for path in others]
        while others and sum(sizes) + needed > self._limit:
            shutil.rmtree(others.pop(0), ignore_errors=True)
            sizes.pop(0)
        free = int(_OF_FREE * shutil.disk_usage(self._folder).free)
        return min(self._limit - sum(sizes), _on_disk(self._folder / key) + free)


def image_cache(results: Path, gigabytes: float) -> Cache | None:
    """That of a results folder; None if it is to hold nothing."""
    return Cache(results / DECODED, int(gigabytes * 1e9)) if gigabytes else None


def _on_disk(folder: Path) -> int:
    """Bytes that its files take, without their holes."""
    with suppress(FileNotFoundError):
        return sum(path.stat().st_blocks * 512 for path in folder.iterdir())
    return 0


def slot_bytes(shape: Shape) -> int:
    """Of the largest image of this shape."""
    return shape.size * round(shape.size * shape.most_ratio) * 3


class Slots:
    """Places for the decoded images of a list of files. Several processes may use them at the same time."""

    def __init__(self, folder: Path, count: int, shape: Shape, room: int) -> None:
        self._folder, self._count, self._room, self._shape = folder, count, room, shape
        self._checked = np.zeros(count, bool)
        self._puts = 0
        self._open()
        os.utime(folder / "index")

    def _open(self) -> None:
        self._index_file, index = _mapped(self._folder / "index", self._count * _RECORD.itemsize)
        self._pixels_file, self._pixels = _mapped(self._folder / "pixels", self._count * slot_bytes(self._shape))
        self._index = np.frombuffer(index, _RECORD)
        for file in (self._index_file, self._pixels_file):
            weakref.finalize(self, os.close, file)

    def __getstate__(self) -> dict[str, Any]:
        """Another process opens the files itself."""
        opened = ("_index_file", "_pixels_file", "_index", "_pixels")
        return {name: value for name, value in self.__dict__.items() if name not in opened}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._open()

    def get(self, place: int) -> np.ndarray | None:
        """An image, uint8 [H, W, 3], not to be written to; None if it is not kept."""
        height, width, sha256, check = self._index[place].tolist()
        if not 0 < height * width * 3 <= slot_bytes(self._shape):
            return None
        start = place * slot_bytes(self._shape)
        pixels = np.frombuffer(self._pixels, np.uint8, height * width * 3, start)
        if not self._checked[place]:
            if _check_value(height, width, sha256, pixels) != check:
                return None
            self._checked[place] = True
        return pixels.reshape(height, width, 3)

    def sha256(self, place: int) -> str:
        """Of the file of an image that is kept."""
        return bytes(self._index[place]["sha256"]).ljust(32, b"\0").hex()

    def put(self, place: int, pixels_HWC: np.ndarray, sha256: str) -> None:
        """Keep an image, if there is room and the disk takes it."""
        self._puts += 1
        if self._puts % _CHECK_ROOM_EVERY == 1:
            self._room = self._room if _on_disk(self._folder) < self._room else 0
        if not self._room:
            return
        height, width, _ = pixels_HWC.shape
        digest = bytes.fromhex(sha256)
        record = np.array((height, width, digest, _check_value(height, width, digest, pixels_HWC)), _RECORD)
        try:
            _write(self._pixels_file, pixels_HWC, place * slot_bytes(self._shape))
            _write(self._index_file, record, place * _RECORD.itemsize)
        except OSError:  # the disk is full
            self._room = 0

    @property
    def ranges(self) -> Ranges:
        """Of values in images of more than 8 bits, as far as they are known."""
        with suppress(OSError, ValueError):
            return {depth: tuple(ends) for depth, ends in json.loads((self._folder / _RANGES).read_text()).items()}
        return {}

    @ranges.setter
    def ranges(self, ranges: Ranges) -> None:
        with suppress(StorageError):
            write_atomically(self._folder / _RANGES, json.dumps(ranges))

    def array(self) -> np.ndarray:
        """All images, [N, S, S, 3], not to be written to. They are squares, and all kept."""
        size = self._shape.size
        return np.frombuffer(self._pixels, np.uint8).reshape(self._count, size, size, 3)


def _mapped(path: Path, length: int) -> tuple[int, mmap.mmap]:
    """A file of so many bytes, most of them a hole at first, and its contents."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    os.ftruncate(file, length)
    return file, mmap.mmap(file, length, prot=mmap.PROT_READ)


def _write(file: int, values: np.ndarray, at: int) -> None:
    left = memoryview(values.tobytes())
    while left:
        written = os.pwrite(file, left, at)
        left, at = left[written:], at + written


def _check_value(height: int, width: int, sha256: bytes, pixels: np.ndarray) -> int:
    start = zlib.crc32(b"%d %d " % (height, width) + sha256.ljust(32, b"\0"))
    return zlib.crc32(np.ascontiguousarray(pixels).data, start)
