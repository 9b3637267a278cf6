"""Which files are images: by their endings, and by their content where a name does not tell."""

from collections import Counter
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from pathlib import Path

from PIL import Image

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
