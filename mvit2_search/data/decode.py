"""One image file to square RGB pixels."""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mvit2_search.data.formats import unknown_format
from mvit2_search.data.metadata import upright, without_metadata
from mvit2_search.errors import first_line

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
