"""Decoded images on disk, for what is read again. Processes and studies share them.

    <data set>/<part>/pixels   a slot for each image, of equal sizes, uint8; a hole where none is kept
    <data set>/<part>/index    a record for each slot
    <data set>/ranges.json     of values in images of more than 8 bits

A slot is filled once its record says so, with a check value: neither a kill nor a power cut leaves half an image.
A data set that is open somewhere is locked, and not removed to make room.
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
from PIL import features

from mvit2_search.errors import StorageError
from mvit2_search.store.folders import DECODED
from mvit2_search.system.files import acquire, write_atomically
from mvit2_search.task.data.decode import Ranges, Shape

_RECORD = np.dtype([("height", "<u4"), ("width", "<u4"), ("sha256", "S32"), ("check", "<u4")])
_RANGES = "ranges.json"
_CHECK_ROOM_EVERY = 64  # images
_LEFT_FREE = 1e9  # bytes of the disk, for checkpoints and others


def cache_key(lines: Iterable[str]) -> str:
    """The name of a data set of files that these lines describe."""
    decoders = f"Pillow {PIL.__version__}, {features.version('jpg')}, {features.version('libjpeg_turbo')}"
    digest = hashlib.sha256(decoders.encode())
    for line in lines:
        digest.update(f"\n{line}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:24]


class Cache:
    """A folder of decoded images of about `limit` bytes at most; what was used longest ago goes first."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self._limit = folder, limit

    def takes(self, count: int, shape: Shape) -> bool:
        """Whether so many images are within its limit."""
        return count * slot_bytes(shape) <= self._limit

    def opened(self, key: str, needed: int) -> "Kept | None":
        """A data set of that many bytes at most, for which others make room; None if the folder cannot be used."""
        try:
            kept = Kept(self, key)
            self._make_room(key, needed)
        except OSError:  # no right to write
            return None
        return kept

    def has_room(self) -> bool:
        """Whether one more image may be kept."""
        if shutil.disk_usage(self.folder).free < _LEFT_FREE:
            return False
        return sum(map(_on_disk, self.folder.iterdir())) < self._limit

    def _make_room(self, key: str, needed: int) -> None:
        others = sorted((path for path in self.folder.iterdir() if path.name != key), key=_changed)
        sizes = {path: _on_disk(path) for path in others}
        for path in others:
            if sum(sizes.values()) + needed <= self._limit:
                return
            if _removed(path):
                del sizes[path]


def image_cache(results: Path, gigabytes: float) -> Cache | None:
    """That of a results folder; None if it is to hold nothing."""
    return Cache(results / DECODED, int(gigabytes * 1e9)) if gigabytes else None


def _changed(folder: Path) -> float:
    with suppress(FileNotFoundError):
        return folder.stat().st_mtime
    return 0.0


def _on_disk(folder: Path) -> int:
    """Bytes that its files take, without their holes."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.stat().st_blocks * 512
    return total


def _removed(folder: Path) -> bool:
    """Remove a data set, unless it is in use."""
    try:
        lock = _directory(folder)
    except OSError:
        return not folder.exists()
    try:
        if acquire(lock):
            shutil.rmtree(folder, ignore_errors=True)
        return not folder.exists()
    finally:
        os.close(lock)


def _directory(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_CLOEXEC)


class Kept:
    """The decoded images of one data set, which nobody removes meanwhile."""

    def __init__(self, cache: Cache, key: str) -> None:
        self.cache, self.folder = cache, cache.folder / key
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock()
        os.utime(self.folder)

    def _lock(self) -> None:
        lock = _directory(self.folder)
        acquire(lock, wait=True, shared=True)
        weakref.finalize(self, os.close, lock)

    def __getstate__(self) -> tuple[Cache, Path]:
        return self.cache, self.folder

    def __setstate__(self, state: tuple[Cache, Path]) -> None:
        """In another process. The folder may be gone, if somebody removed it by hand."""
        self.cache, self.folder = state
        with suppress(OSError):
            self._lock()

    def slots(self, part: str, count: int, shape: Shape) -> "Slots | None":
        """For so many images; None if there can be no such file."""
        try:
            (self.folder / part).mkdir(exist_ok=True)
            return Slots(self, part, count, shape)
        except (OSError, ValueError, OverflowError):
            return None

    @property
    def ranges(self) -> Ranges:
        """Of values in images of more than 8 bits; empty as long as they are not known."""
        with suppress(OSError, ValueError, TypeError, AttributeError):
            found = json.loads((self.folder / _RANGES).read_text())
            return {depth: (float(low), float(high)) for depth, (low, high) in found.items()}
        return {}

    @ranges.setter
    def ranges(self, ranges: Ranges) -> None:
        with suppress(StorageError):
            write_atomically(self.folder / _RANGES, json.dumps(ranges))


def slot_bytes(shape: Shape) -> int:
    """Of the largest image of this shape."""
    return shape.size * round(shape.size * shape.most_ratio) * 3


class Slots:
    """Places for the decoded images of a list of files. Several processes may use them at the same time."""

    def __init__(self, kept: Kept, part: str, count: int, shape: Shape) -> None:
        self._kept, self._folder, self._shape, self._count = kept, kept.folder / part, shape, count
        self._checked = np.zeros(count, bool)
        self._puts, self._is_full = 0, False
        self._open()

    def _open(self) -> None:
        self._index_file, index = _mapped(self._folder / "index", self._count * _RECORD.itemsize)
        weakref.finalize(self, os.close, self._index_file)
        self._pixels_file, self._pixels = _mapped(self._folder / "pixels", self._count * slot_bytes(self._shape))
        weakref.finalize(self, os.close, self._pixels_file)
        self._index = np.frombuffer(index, _RECORD)

    def __getstate__(self) -> dict[str, Any]:
        """Another process opens the files itself."""
        opened = ("_index_file", "_pixels_file", "_index", "_pixels")
        return {name: value for name, value in self.__dict__.items() if name not in opened}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        try:
            self._open()
        except OSError:  # somebody removed them by hand
            self._index, self._is_full = np.zeros(self._count, _RECORD), True

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
        if self._puts % _CHECK_ROOM_EVERY == 0:
            self._is_full = self._is_full or not self._kept.cache.has_room()
        self._puts += 1
        if self._is_full:
            return
        height, width, _ = pixels_HWC.shape
        digest = bytes.fromhex(sha256)
        record = np.array((height, width, digest, _check_value(height, width, digest, pixels_HWC)), _RECORD)
        try:
            _write(self._pixels_file, pixels_HWC, place * slot_bytes(self._shape))
            _write(self._index_file, record, place * _RECORD.itemsize)
        except OSError:  # the disk is full
            self._is_full = True

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
