"""One file to pixels: every mode and depth, odd metadata, damage."""

import os
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from conftest import write_images
from mvit2_search.task.data.decode import Decoded, Shape, Unreadable, decode, exif_orientation

RANGES = {"integer": (0, 65535), "float": (0, 255)}


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "I", "F", "I;16"])
def test_every_mode_becomes_rgb_of_the_same_brightness(tmp_path, mode):
    value = {"I": 32768, "I;16": 32768, "F": 128.0}.get(mode, 128)
    grey = Image.new("L", (30, 20), 128)
    image = Image.new(mode, (30, 20), value) if mode in ("I", "F", "I;16") else grey.convert(mode)
    path = tmp_path / f"image.{'tiff' if mode in ('F', 'CMYK', 'YCbCr', 'I', 'I;16') else 'png'}"
    image.save(path)
    decoded = decode(path.read_bytes(), Shape(8), RANGES)
    assert isinstance(decoded, Decoded)
    assert decoded.pixels_HWC.shape == (8, 8, 3)
    assert decoded.pixels_HWC.dtype == np.uint8
    if mode != "1":
        assert abs(decoded.pixels_HWC.astype(int) - 128).max() <= 2


def test_the_centre_is_kept_and_a_turned_photograph_is_put_upright(tmp_path):
    image = Image.new("RGB", (40, 20), "black")
    image.paste("white", (10, 0, 30, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    image.save(tmp_path / "a.png")
    image.resize((40, 20)).save(tmp_path / "b.jpg", exif=exif)
    assert decode((tmp_path / "a.png").read_bytes(), Shape(10), {}).pixels_HWC.mean() > 240
    assert decode((tmp_path / "b.jpg").read_bytes(), Shape(10), {}).pixels_HWC.mean() > 240


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty", "bomb"])
def test_damaged_files_are_unreadable_with_a_reason(tmp_path, damage):
    path = tmp_path / "a.jpg"
    Image.effect_noise((200, 200), 50).save(path)
    data = path.read_bytes()
    if damage == "bomb":
        path = tmp_path / "a.pbm"
        data = b"P4 60000 60000\n" + b"\0" * 100
    path.write_bytes(
        {"truncated": data[: len(data) // 2], "garbage": os.urandom(500), "empty": b""}.get(damage, data)
    )
    decoded = decode(path.read_bytes(), Shape(8), RANGES)
    assert isinstance(decoded, Unreadable)
    assert decoded.why


def test_random_bytes_never_raise(tmp_path):
    rng = random.Random(0)
    path = tmp_path / "a.png"
    Image.new("RGB", (20, 20)).save(path)
    good = path.read_bytes()
    for _ in range(200):
        broken = bytearray(good)
        for _ in range(3):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        path.write_bytes(bytes(broken))
        assert isinstance(decode(path.read_bytes(), Shape(8), RANGES), Decoded | Unreadable)


ODD_ENTRIES = [
    (0x011A, 5, 2**31, 2**31),
    (0x010E, 2, 2**32 - 1, 2**32 - 1),
    (0x0132, 4, 7, 10**6),
    (0x0128, 2, 1, 5),
]


def exif_with(*entries, order="<"):
    """EXIF of these entries: tag, kind, count, value or offset."""
    body = b"".join(struct.pack(f"{order}HHLL", *entry) for entry in sorted(entries))
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}L", 8)
    return b"Exif\0\0" + head + struct.pack(f"{order}H", len(entries)) + body + bytes(4)


def half_white(width=40, height=20):
    """Black, its left half white: upright after a turn it is its upper or lower half."""
    image = Image.new("RGB", (width, height), "black")
    image.paste("white", (0, 0, width // 2, height))
    return image


def upper_half_is_white(decoded):
    assert isinstance(decoded, Decoded), decoded
    rows = decoded.pixels_HWC.mean((1, 2))
    return bool(rows[0] > 200 and rows[-1] < 50)


@pytest.mark.parametrize("ending", ["jpg", "webp", "png", "mpo"])
@pytest.mark.parametrize("odd", [[], *[[one] for one in ODD_ENTRIES], ODD_ENTRIES])
def test_odd_exif_is_ignored_and_the_orientation_read(tmp_path, ending, odd):
    path = tmp_path / f"a.{ending}"
    half_white().save(path, exif=exif_with((0x0112, 3, 1, 6), *odd))  # the camera was turned
    assert upper_half_is_white(decode(path.read_bytes(), Shape(10), {}))


@pytest.mark.parametrize(("kind", "count"), [(3, 1), (4, 1), (3, 2)])
def test_the_orientation_in_either_byte_order(kind, count):
    assert exif_orientation(exif_with((0x0112, kind, count, 8))) == 8
    shifted = 8 if kind == 4 else 8 << 16  # a short stands at the front of its four bytes
    assert exif_orientation(exif_with((0x0112, kind, count, shifted), order=">")) == 8


@pytest.mark.parametrize(
    "exif", [b"", b"II", b"Exif\0\0II*\0", b"XX*\0\x08\0\0\0\1\0", exif_with()[:-2], b"MM\0*" * 9]
)
def test_exif_without_an_orientation_has_none(exif):
    assert exif_orientation(exif) is None


@pytest.mark.parametrize("value", [0, 9, 77, 65535])
def test_orientations_that_there_are_not_leave_the_image_as_it_is(tmp_path, value):
    half_white(20, 20).rotate(-90).save(tmp_path / "a.jpg", exif=exif_with((0x0112, 3, 1, value)))
    assert upper_half_is_white(decode((tmp_path / "a.jpg").read_bytes(), Shape(10), {}))


def test_changed_bytes_of_metadata_never_make_an_image_unreadable(tmp_path):
    rng = random.Random(0)
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif.update({0x010F: "maker" * 5, 0x0112: 6, 0x011A: 72.0, 0x8769: {0x829A: 0.01, 0x927C: b"note" * 30}})
    half_white().save(path, exif=exif, dpi=(72, 72), comment="a" * 20)
    data = path.read_bytes()
    start = data.index(b"Exif") + 6
    for _ in range(400):
        odd = bytearray(data)
        for _ in range(4):
            odd[start + rng.randrange(len(exif.tobytes()) - 6)] = rng.randrange(256)
        path.write_bytes(bytes(odd))
        assert isinstance(decode(path.read_bytes(), Shape(8), RANGES), Decoded)


def chunk(name, content, checksum=None):
    return (
        struct.pack(">L", len(content))
        + name
        + content
        + struct.pack(">L", zlib.crc32(name + content) if checksum is None else checksum)
    )


@pytest.mark.parametrize(
    "odd",
    [
        chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(3 * 2**20))),
        chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(3 * 2**20))),
        chunk(b"iCCP", b"profile\0\0broken"),
        chunk(b"tEXt", b"key\0text", checksum=1),
        chunk(b"eXIf", b"II*\0" * 9),
        b"".join(chunk(b"iTXt", b"k%d\0\1\0\0\0" % i + zlib.compress(bytes(2**20 - 9))) for i in range(70)),
        chunk(b"pHYs", b"\0"),
    ],
    ids=["long text", "long profile", "broken profile", "checksum", "exif", "many texts", "short"],
)
def test_odd_chunks_of_a_png_are_ignored(tmp_path, odd):
    path = tmp_path / "a.png"
    half_white().save(path, exif=exif_with((0x0112, 3, 1, 6)))
    data = path.read_bytes()
    path.write_bytes(data[:33] + odd + data[33:])  # after the header
    assert upper_half_is_white(decode(path.read_bytes(), Shape(10), {})) or b"eXIf" in odd


def test_transparency_survives_odd_metadata(tmp_path):
    image = Image.new("P", (8, 8), 0)
    image.putpalette([0, 0, 0] * 256)
    image.save(tmp_path / "a.png", transparency=0)
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[:33] + chunk(b"tEXt", b"key\0text", checksum=1) + data[33:])
    assert decode((tmp_path / "a.png").read_bytes(), Shape(8), {}).pixels_HWC.min() == 255  # on white


@pytest.mark.parametrize("marker", [0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xFE])
def test_odd_segments_of_a_jpeg_are_ignored(tmp_path, marker):
    half_white().save(tmp_path / "a.jpg", exif=exif_with((0x0112, 3, 1, 6)))
    data = (tmp_path / "a.jpg").read_bytes()
    for content in (
        b"",
        b"ICC_PROFILE\0\1\2x",
        b"MPF\0II*\0" + bytes(range(50)),
        b"Photoshop 3.0\0008BIM\4\4\0\0\0\0\1",
        b"JFIF\0",
        b"Adobe\0",
    ):
        odd = bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2) + content
        (tmp_path / "a.jpg").write_bytes(data[:2] + odd + data[2:])
        assert upper_half_is_white(decode((tmp_path / "a.jpg").read_bytes(), Shape(10), {}))


def test_adobe_colours_survive_odd_metadata(tmp_path):
    """Four colours, which Adobe's segment says are inverted."""
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[:2] + b"\xff\xe0\0\7JFIF\0" + data[2:])
    before = decode((tmp_path / "a.jpg").read_bytes(), Shape(8), {}).pixels_HWC
    assert before[..., 0].min() > 240
    assert before[..., 1:].max() < 15


@pytest.mark.slow
def test_a_folder_with_odd_exif_is_used_whole(tmp_path, run_on):
    folder = write_images(tmp_path / "images", {"a": 10, "b": 10}, ending="jpg")
    half_white().save(folder / "a" / "0003.jpg", exif=exif_with((0x0112, 3, 1, 6), *ODD_ENTRIES))
    result = run_on(folder)
    assert result.exit_code == 0, result.output
    assert "12 training, 4 selection and 4 confirmation images" in result.output
