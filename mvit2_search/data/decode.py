"""One image file to square RGB pixels."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mvit2_search.data.metadata import upright, without_metadata
from mvit2_search.errors import first_line


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoded:
    """RGB pixels [S, S, 3], uint8, and the hash of the file they come from."""

    pixels_SSC: np.ndarray
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Unreadable:
    """A file that is no usable image."""

    why: str


def decode(path: Path, size: int) -> Decoded | Unreadable:
    """Scale the short side to `size` and crop the centre. Any mode and depth that Pillow reads."""
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
            return Decoded(pixels_SSC=_square(version, exif, size), sha256=hashlib.sha256(data).hexdigest())
        except UnidentifiedImageError:
            failures.append("not an image of a known format")
        except MemoryError:
            raise
        except Exception as err:  # a broken file raises whatever its decoder stumbles over
            failures.append(first_line(err))
    return Unreadable(why=failures[0])


def _square(data: bytes, exif: bytes | None, size: int) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        image.draft("RGB", (size, size))  # lets a JPEG be decoded at a fraction of its size
        image.load()
        return np.asarray(ImageOps.fit(_rgb(upright(image, exif)), (size, size), Image.Resampling.BILINEAR))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):  # deeper than 8 bits
        values = np.asarray(image, np.float64)
        float_top = 1.0 if values.max() <= 1 else 255.0  # both are common
        top = float_top if image.mode == "F" else 65535.0
        return Image.fromarray(np.clip(values * 255 / top, 0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:  # on white, as a viewer would show it
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")
