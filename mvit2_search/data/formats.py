"""Which files are images: by their endings, and by their content where a name does not tell."""

from pathlib import Path

from PIL import Image

_NEVER_DECODED = {"BUFR", "GRIB", "HDF5", "MPEG", "WMF"}  # Pillow names these formats and reads none of them
_WITH_MAGIC = ("AVIF", "BMP", "GIF", "HEIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")


def image_endings() -> frozenset[str]:
    """Endings of the files that Pillow can decode here, in lower case and with their dot."""
    found = Image.registered_extensions().items()
    return frozenset({ending for ending, name in found if name in Image.OPEN.keys() - _NEVER_DECODED} | {".mpo"})


def is_image(path: Path, endings: frozenset[str]) -> bool:
    """Whether a file is meant to be an image. `1234`, `a.jpg?w=200` and `a.0001` are asked for their content."""
    ending = path.suffix.lower()
    return ending in endings or (
        not ending[1:].isalpha() and not path.name.endswith("~") and _begins_like_one(path)
    )


def _begins_like_one(path: Path) -> bool:
    """Formats that begin with a mark of their own; the others might be taken for anything."""
    try:
        with Image.open(path, formats=[name for name in _WITH_MAGIC if name in Image.OPEN]):
            return True
    except Exception:  # a broken file raises whatever its decoder stumbles over
        return False
