"""`weight.bin` of a Core ML package: a header, then for each tensor a record of 64 bytes and its numbers.

    file    uint32 number of tensors, uint32 version 2, 56 reserved bytes
    record  uint32 0xDEADBEEF, uint32 type, uint64 bytes, uint64 where they begin, 40 further bytes

Everything is little-endian and begins at a multiple of 64. The layout is that of coremltools'
`mlmodel/src/MILBlob/Blob/StorageFormat.hpp`.
"""

import struct
from pathlib import Path

import numpy as np

from mvit2_search.errors import MeasurementError

_HEADER, _RECORD, _ALIGNMENT = struct.Struct("<II56x"), struct.Struct("<IIQQ40x"), 64
_SENTINEL, _VERSION = 0xDEADBEEF, 2
_TYPES = {1: ("float16", "<f2"), 2: ("float32", "<f4")}


class WeightFile:
    """The tensors of a weight file, each by the place of its record. A program of few numbers has no file.

    Raises:
        MeasurementError: the header is damaged, or is that of another file.
    """

    def __init__(self, path: Path) -> None:
        self._data = path.read_bytes() if path.exists() else _HEADER.pack(0, _VERSION)
        if len(self._data) < _HEADER.size:
            raise MeasurementError(f"weight.bin: {len(self._data)} bytes hold no header")
        self._count, version = _HEADER.unpack_from(self._data)
        if version != _VERSION:
            raise MeasurementError(f"weight.bin: version {version}, expected {_VERSION}")
        self._seen: set[int] = set()

    def read(self, place: int, dtype: str, name: str) -> np.ndarray:
        """The numbers of one tensor, flat.

        Raises:
            MeasurementError: there is no such tensor at `place`, or it reaches out of the file.
        """
        sentinel, code, size, begin = self._record(place, name)
        if sentinel != _SENTINEL:
            raise MeasurementError(f"weight.bin: {name}: no tensor at byte {place}: {sentinel:#x}")
        if _TYPES.get(code, ("",))[0] != dtype:
            raise MeasurementError(f"weight.bin: {name}: numbers of type {code}, expected {dtype}")
        if begin % _ALIGNMENT or begin < place + _RECORD.size or begin + size > len(self._data):
            raise MeasurementError(
                f"weight.bin: {name}: bytes {begin} to {begin + size} lie outside of the file's {len(self._data)}"
            )
        numbers = np.frombuffer(self._data, np.uint8, count=size, offset=begin)
        if size % np.dtype(_TYPES[code][1]).itemsize:
            raise MeasurementError(f"weight.bin: {name}: {size} bytes end within a number")
        return numbers.view(_TYPES[code][1])

    def _record(self, place: int, name: str) -> tuple[int, int, int, int]:
        if place % _ALIGNMENT or not _HEADER.size <= place <= len(self._data) - _RECORD.size:
            raise MeasurementError(
                f"weight.bin: {name}: byte {place} lies outside of the file, or between tensors"
            )
        self._seen.add(place)
        if len(self._seen) > self._count:
            raise MeasurementError(f"weight.bin: the file holds {self._count} tensors and more are used")
        sentinel, code, size, begin = _RECORD.unpack_from(self._data, place)
        return sentinel, code, size, begin
