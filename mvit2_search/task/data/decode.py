"""One image file to square RGB pixels.

What a file says besides its pixels. Only which side is up is read; the rest may be broken.

Which files are images: by their endings, and by their content where a name does not tell.
"""

import hashlib
import io
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mvit2_search.errors import first_line

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


_NEVER_DECODED = {"BUFR", "GRIB", "HDF5", "MPEG", "WMF"}  # Pillow names these formats and reads none of them
_WITH_MAGIC = ("AVIF", "BMP", "GIF", "HEIF", "JPEG", "JPEG2000", "JXL", "MPO", "PNG", "PPM", "TIFF", "WEBP")
_HEIF = "pillow-heif"
_PLUGINS = ("pillow_heif.HeifImagePlugin", "pillow_jxl", "pillow_avif")
_NEEDS = {
    **dict.fromkeys((".heic", ".heics", ".heif", ".hif"), _HEIF),
    ".jxl": "pillow-jxl-plugin",
    ".avif": "pillow-avif-plugin",  # Pillow before 11.3
}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


def image_endings() -> frozenset[str]:
    """Endings of the files that can be decoded here, in lower case and with their dot."""
    _register_plugins()
    found = Image.registered_extensions().items()
    return frozenset({ending for ending, name in found if name in Image.OPEN.keys() - _NEVER_DECODED} | {".mpo"})


def is_image(path: Path, endings: frozenset[str]) -> bool:
    """Whether a file is meant to be an image. `1234`, `a.jpg?w=200` and `a.0001` are asked for their content."""
    ending = path.suffix.lower()
    return ending in endings or (
        not ending[1:].isalpha() and not path.name.endswith("~") and _begins_like_one(path)
    )


def needs_plugin(path: Path) -> bool:
    """Whether a file that is no image here is one where a plugin of Pillow's is installed."""
    return path.suffix.lower() in _NEEDS


def plugin_hints(others: Iterable[Path]) -> list[str]:
    """What to install for the photos among files that are no images here."""
    counts = Counter(_NEEDS[path.suffix.lower()] for path in others if needs_plugin(path))
    return [f"photos that cannot be read without `pip install {name}`: {count}" for name, count in counts.items()]


def unknown_format(data: bytes) -> str:
    """Why the content of a file is no image."""
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        return f"HEIC, whatever its name says, which needs `pip install {_HEIF}`"
    return "not an image of a known format"


@cache
def _register_plugins() -> None:
    """Importing one of these makes Pillow read more formats."""
    for module in _PLUGINS:
        try:
            import_module(module)
        except ImportError:
            continue


def _begins_like_one(path: Path) -> bool:
    """Formats that begin with a mark of their own; the others might be taken for anything."""
    try:
        with Image.open(path, formats=[name for name in _WITH_MAGIC if name in Image.OPEN]):
            return True
    except Exception:  # a broken file raises whatever its decoder stumbles over
        return False


Depth = Literal["integer", "float"]
Ranges = Mapping[Depth, tuple[float, float]]
"""What is black and what is white in images of more than 8 bits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoded:
    """RGB pixels [S, S, 3], uint8, and the hash of the file they come from."""

    pixels_SSC: np.ndarray
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Deep:
    """An image of more than 8 bits, whose values are grey levels only beside those of the other images.

    Attributes:
        low, high: the least and the largest of its values.
    """

    depth: Depth
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Unreadable:
    """A file that is no usable image."""

    why: str


def decode(path: Path, size: int, ranges: Ranges) -> Decoded | Deep | Unreadable:
    """Scale the short side to `size` and crop the centre. Any mode and depth that Pillow reads.

    Args:
        ranges: for images of more than 8 bits; without theirs they are `Deep`.
    """
    try:
        data = path.read_bytes()
    except OSError as err:
        return Unreadable(why=str(err.strerror))
    if not data:
        return Unreadable(why="empty file")
    bare, exif = without_metadata(data)
    failures = []
    for version in dict.fromkeys((data, bare)):  # metadata that Pillow stumbles over do not count
        try:
            square = _square(version, exif, size)
            return _in_range(square, ranges, hashlib.sha256(data).hexdigest())
        except UnidentifiedImageError:
            failures.append(unknown_format(data))
        except MemoryError:
            raise
        except Exception as err:  # a broken file raises whatever its decoder stumbles over
            failures.append(first_line(err))
    return Unreadable(why=failures[0])


def _square(data: bytes, exif: bytes | None, size: int) -> Image.Image:
    """Of mode RGB; of I or F where the values have more than 8 bits."""
    with Image.open(io.BytesIO(data)) as image:
        image.draft("RGB", (size, size))  # lets a JPEG be decoded at a fraction of its size
        image.load()
        return ImageOps.fit(_plain(upright(image, exif)), (size, size), Image.Resampling.BILINEAR)


def _plain(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        return Image.fromarray(_finite(np.asarray(image)))
    if image.mode == "I" or image.mode.startswith("I;16"):
        return Image.fromarray(np.asarray(image).astype(np.int32))
    if image.has_transparency_data:  # on white, as a viewer would show it
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _finite(values: np.ndarray) -> np.ndarray:
    """What is no number becomes the least that is one; what is infinite, the least or the largest."""
    known = values[np.isfinite(values)]
    if not known.size:
        raise ValueError("no value is a finite number")
    low, high = known.min(), known.max()
    return np.where(np.isnan(values), low, values.clip(low, high))


def _in_range(square: Image.Image, ranges: Ranges, sha256: str) -> Decoded | Deep:
    if square.mode == "RGB":
        return Decoded(pixels_SSC=np.asarray(square), sha256=sha256)
    depth: Depth = "float" if square.mode == "F" else "integer"
    values_SS = np.asarray(square, np.float64)
    if depth not in ranges:
        return Deep(depth=depth, low=float(values_SS.min()), high=float(values_SS.max()))
    low, high = ranges[depth]
    grey_SS = np.rint((values_SS - low) * (255 / ((high - low) or 1.0))).clip(0, 255).astype(np.uint8)
    return Decoded(pixels_SSC=np.repeat(grey_SS[..., None], 3, axis=2), sha256=sha256)
