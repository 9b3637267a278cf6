"""What a file says besides its pixels. Only which side is up is read; the rest may be broken."""

import struct
from collections.abc import Iterator

from PIL import Image

_ORIENTATION = 0x0112
_TURNS = {  # what puts an image upright, by its orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXIF = b"Exif\0\0"
_WHOLE = {0xE0: 18, 0xEE: 16}  # bytes of JFIF's and Adobe's segments; cut short, they say nothing
_PNG = b"\x89PNG\r\n\x1a\n"


def upright(image: Image.Image, exif: bytes | None) -> Image.Image:
    """A loaded image, turned as `exif` says, or what it holds elsewhere."""
    orientation = exif_orientation(exif) if exif else _orientation_elsewhere(image)
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def exif_orientation(exif: bytes) -> int | None:
    """The orientation in EXIF data, read alone: no other entry is looked at."""
    data = exif.removeprefix(_EXIF)
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    try:
        if order is None:
            return None
        (start,) = struct.unpack_from(f"{order}L", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        for i in range(count):
            tag, kind = struct.unpack_from(f"{order}HH", data, start + 2 + 12 * i)
            if tag == _ORIENTATION:
                letter = {1: "B", 3: "H", 4: "L"}.get(kind, "H")
                return int(struct.unpack_from(f"{order}{letter}", data, start + 10 + 12 * i)[0])
    except struct.error:  # cut short before it
        pass
    return None


def without_metadata(data: bytes) -> tuple[bytes, bytes | None]:
    """A JPEG's or PNG's content with what its pixels need alone, and its EXIF data; others as they are."""
    if data.startswith(b"\xff\xd8"):
        return _bare(data, _jpeg_parts(data))
    return _bare(data, _png_parts(data)) if data.startswith(_PNG) else (data, None)


Part = tuple[int, int, bool, int | None]
"""Where a part of a file begins and ends, whether the pixels need it, where in it EXIF data begin."""


def _bare(data: bytes, parts: Iterator[Part]) -> tuple[bytes, bytes | None]:
    kept, exif = [], None
    for start, end, needed, exif_at in parts:
        if needed:
            kept.append(data[start:end])
        if exif_at is not None and exif is None:
            exif = data[exif_at:end]
    return b"".join(kept), exif


def _jpeg_parts(data: bytes) -> Iterator[Part]:
    """Segments; of those for applications JFIF's and Adobe's are needed, which say what the colours are."""
    yield 0, 2, True, None
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:  # where the scan begins
        marker, end = data[at + 1], at + 2 + int.from_bytes(data[at + 2 : at + 4])
        is_exif = marker == 0xE1 and data[at + 4 : end].startswith(_EXIF)
        for_applications = 0xE0 <= marker <= 0xEF or marker == 0xFE
        needed = end - at >= _WHOLE[marker] if marker in _WHOLE else not for_applications
        yield at, end, needed, at + 10 if is_exif else None
        at = end
    yield at, len(data), True, None


def _png_parts(data: bytes) -> Iterator[Part]:
    """Chunks; those with a capital and transparency are needed."""
    yield 0, len(_PNG), True, None
    at = len(_PNG)
    while at + 12 <= len(data):
        name, end = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4])
        yield at, end, name[:1].isupper() or name == b"tRNS", at + 8 if name == b"eXIf" else None
        at = end
    yield at, len(data), True, None


def _orientation_elsewhere(image: Image.Image) -> int | None:
    """In EXIF or XMP of any other format."""
    exif = image.info.get("exif")
    if isinstance(exif, bytes):
        return exif_orientation(exif)
    try:
        found = image.getexif().get(_ORIENTATION)
    except Exception:  # broken metadata raise whatever their reader stumbles over
        return None
    return found if isinstance(found, int) else None
