"""Image files: which files are images, and their pixels.

Of the metadata, only the orientation is read, by our own code: damaged metadata must not spoil an image.
"""

import hashlib
import io
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from os.path import splitext
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mvit2_search.errors import first_line

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


def is_image(path: str, endings: frozenset[str]) -> bool:
    """Whether a file is meant to be an image: by its ending, or by content for `1234`, `a.jpg?w=200`, `a.0001`."""
    ending = splitext(path)[1].lower()
    return ending in endings or (not ending[1:].isalpha() and not path.endswith("~") and _has_magic_bytes(path))


def needs_plugin(path: str) -> bool:
    """Whether a file that is no image here would be one with a plugin of Pillow."""
    return splitext(path)[1].lower() in _NEEDS


def plugin_hints(others: Iterable[str]) -> list[str]:
    """Which plugins to install for the photos among files that are no images here."""
    counts = Counter(_NEEDS[splitext(path)[1].lower()] for path in others if needs_plugin(path))
    return [f"photos that cannot be read without `pip install {name}`: {count}" for name, count in counts.items()]


@cache
def _register_plugins() -> None:
    """Importing a plugin makes Pillow read more formats."""
    for module in _PLUGINS:
        with suppress(ImportError):
            import_module(module)


def _has_magic_bytes(path: str) -> bool:
    """Only of formats that begin with a signature; anything could be taken for one of the others."""
    try:
        with Image.open(path, formats=[name for name in _WITH_MAGIC if name in Image.OPEN]):
            return True
    except Exception:  # decoders raise anything for a broken file
        return False


Depth = Literal["integer", "float"]
Ranges = Mapping[Depth, tuple[float, float]]  # values of black and white in images of more than 8 bits


class Decoded(NamedTuple):
    """RGB pixels [H, W, 3], uint8, and the hash of their file."""

    pixels_HWC: np.ndarray
    sha256: str


class Deep(NamedTuple):
    """The lowest and highest value of an image of more than 8 bits, which needs a range common to all images."""

    depth: Depth
    low: float
    high: float


class Unreadable(NamedTuple):
    """A file that is no usable image."""

    why: str


class Shape(NamedTuple):
    """What an image is scaled to.

    Attributes:
        size: its short side, in pixels.
        most_ratio: of the long side to the short one, more is cut off; 1 for a square.
        draft: a JPEG is decoded at a half, a quarter or an eighth of its size where that is still so many times
            `size`, which is faster and a little less exact; None: never.
    """

    size: int
    most_ratio: float = 1.0
    resample: Image.Resampling = Image.Resampling.BILINEAR
    draft: int | None = 1

    def of(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of what an image becomes."""
        ratio = min(self.most_ratio, max(width, height) / min(width, height))
        long = round(self.size * ratio)
        return (long, self.size) if width > height else (self.size, long)


def decode(data: bytes, shape: Shape, ranges: Ranges) -> Decoded | Deep | Unreadable:
    """The central part of an image, from the contents of its file. Reads any mode and depth that Pillow reads.

    Images of more than 8 bits are `Deep` without a range for their depth.
    """
    if not data:
        return Unreadable(why="empty file")
    bare, exif = _without_metadata(data)
    failures = []
    for version in dict.fromkeys((data, bare)):  # the second in case Pillow stumbles over the metadata
        try:
            part = _part(version, exif, shape)
            return _in_range(part, ranges, hashlib.sha256(data).hexdigest())
        except UnidentifiedImageError:
            failures.append(_unknown_format(data))
        except MemoryError:
            raise
        except Exception as err:  # decoders raise anything for a broken file
            failures.append(first_line(err))
    return Unreadable(why=failures[0])


def _unknown_format(data: bytes) -> str:
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        return f"HEIC, whatever its name says, which needs `pip install {_HEIF}`"
    return "not an image of a known format"


def _part(data: bytes, exif: bytes | None, shape: Shape) -> Image.Image:
    """Mode RGB; I or F if the values have more than 8 bits."""
    with Image.open(io.BytesIO(data)) as image:
        if shape.draft is not None:
            image.draft("RGB", (shape.draft * shape.size,) * 2)
        image.load()
        upright = _converted(_upright(image, exif))
        return ImageOps.fit(upright, shape.of(*upright.size), shape.resample)


def _converted(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        return Image.fromarray(_finite(np.asarray(image)))
    if image.mode == "I" or image.mode.startswith("I;16"):
        return Image.fromarray(np.asarray(image).astype(np.int32))
    if image.has_transparency_data:  # on white, as a viewer shows it
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _finite(values: np.ndarray) -> np.ndarray:
    """NaN becomes the lowest finite value, infinities the lowest and the highest."""
    known = values[np.isfinite(values)]
    if not known.size:
        raise ValueError("no value is a finite number")
    low, high = known.min(), known.max()
    return np.where(np.isnan(values), low, values.clip(low, high))


def _in_range(part: Image.Image, ranges: Ranges, sha256: str) -> Decoded | Deep:
    if part.mode == "RGB":
        return Decoded(pixels_HWC=np.asarray(part), sha256=sha256)
    depth: Depth = "float" if part.mode == "F" else "integer"
    values_HW = np.asarray(part, np.float64)
    if depth not in ranges:
        return Deep(depth=depth, low=float(values_HW.min()), high=float(values_HW.max()))
    low, high = ranges[depth]
    grey_HW = np.rint((values_HW - low) * (255 / ((high - low) or 1.0))).clip(0, 255).astype(np.uint8)
    return Decoded(pixels_HWC=np.repeat(grey_HW[..., None], 3, axis=2), sha256=sha256)


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
_WHOLE = {0xE0: 18, 0xEE: 16}  # bytes of JFIF's and Adobe's segments; shorter ones are cut off, and say nothing
_PNG = b"\x89PNG\r\n\x1a\n"


def _upright(image: Image.Image, exif: bytes | None) -> Image.Image:
    """A loaded image, turned as its EXIF or other metadata say."""
    orientation = exif_orientation(exif) if exif else _other_orientation(image)
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def exif_orientation(exif: bytes) -> int | None:
    """The orientation in EXIF data; no other entry is read."""
    data = exif.removeprefix(_EXIF)
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        return None
    with suppress(struct.error):  # cut off before it
        (start,) = struct.unpack_from(f"{order}L", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", data, at)
            if tag == _ORIENTATION:
                letter = {1: "B", 3: "H", 4: "L"}.get(kind, "H")
                return int(struct.unpack_from(f"{order}{letter}", data, at + 8)[0])
    return None


def _other_orientation(image: Image.Image) -> int | None:
    """From EXIF or XMP of formats other than JPEG and PNG."""
    exif = image.info.get("exif")
    if isinstance(exif, bytes):
        return exif_orientation(exif)
    try:
        found = image.getexif().get(_ORIENTATION)
    except Exception:  # readers raise anything for broken metadata
        return None
    return found if isinstance(found, int) else None


def _without_metadata(data: bytes) -> tuple[bytes, bytes | None]:
    """A JPEG or PNG reduced to what its pixels need, and its EXIF data; other files as they are."""
    if data.startswith(b"\xff\xd8"):
        parts = _jpeg_parts(data)
    elif data.startswith(_PNG):
        parts = _png_parts(data)
    else:
        return data, None
    kept, exif = [], None
    for part, needed, exif_at in parts:
        if needed:
            kept.append(part)
        if exif_at and exif is None:
            exif = part[exif_at:]
    return b"".join(kept), exif


def _jpeg_parts(data: bytes) -> Iterator[tuple[bytes, bool, int]]:
    """Segments, whether the pixels need them, and where in them EXIF data begin, or 0.

    Of those for applications, only JFIF's and Adobe's are needed, which describe the colours.
    """
    yield data[:2], True, 0
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:  # where the scan begins
        marker, end = data[at + 1], at + 2 + int.from_bytes(data[at + 2 : at + 4])
        is_exif = marker == 0xE1 and data[at + 4 : end].startswith(_EXIF)
        for_applications = 0xE0 <= marker <= 0xEF or marker == 0xFE
        needed = end - at >= _WHOLE[marker] if marker in _WHOLE else not for_applications
        yield data[at:end], needed, 10 if is_exif else 0
        at = end
    yield data[at:], True, 0


def _png_parts(data: bytes) -> Iterator[tuple[bytes, bool, int]]:
    """The same of chunks. Those that begin with a capital are needed, and transparency."""
    yield _PNG, True, 0
    at = len(_PNG)
    while at + 12 <= len(data):
        name, end = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4])
        yield data[at:end], name[:1].isupper() or name == b"tRNS", 8 if name == b"eXIf" else 0
        at = end
    yield data[at:], True, 0
