"""Which files are images, and what to install for those that Pillow alone does not read."""

import shutil
import sys
from types import ModuleType

import pytest
from PIL import BmpImagePlugin, Image

import mvit2_search.task.data.decode as formats
from conftest import write_images
from mvit2_search.errors import DataError
from mvit2_search.task.data.decode import Shape, decode
from mvit2_search.task.data.load import load_dataset

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)


@pytest.fixture(autouse=True)
def no_plugins(monkeypatch):
    """As if none were installed."""
    for module in ("pillow_heif", "pillow_heif.HeifImagePlugin", "pillow_jxl", "pillow_avif"):
        monkeypatch.setitem(sys.modules, module, None)
    formats._register_plugins.cache_clear()
    Image.init()
    known = {table: dict(getattr(Image, table)) for table in ("OPEN", "EXTENSION")}
    identified = list(Image.ID)
    yield
    formats._register_plugins.cache_clear()
    Image.ID[:] = identified
    for table, content in known.items():
        getattr(Image, table).clear()
        getattr(Image, table).update(content)


@pytest.fixture
def folder(tmp_path):
    return write_images(tmp_path / "images", {"a": 10, "b": 10})


def load(folder):
    return load_dataset(str(folder), image_size=8, max_train=10_000)


def used(data):
    return sum(map(len, (data.train, data.selection, data.confirmation)))


@pytest.mark.slow
def test_photos_that_need_a_plugin_are_counted_and_the_plugin_named(folder, run_on):
    for i in range(3):
        (folder / "a" / f"IMG_{i}.HEIC").write_bytes(HEIC)
    (folder / "b" / "list.txt").write_text("b")
    result = run_on(folder)
    assert result.exit_code == 0, result.output
    assert "cannot be read without `pip install pillow-heif`: 3" in result.output
    assert "1 non-image file left out" in result.output


@pytest.mark.parametrize("where", ["a", "b", "a and b"])
def test_classes_of_such_photos_alone_name_it_too(folder, run_on, where):
    for name in where.split(" and "):
        for path in (folder / name).iterdir():
            path.rename(path.with_suffix(".heic"))
    result = run_on(folder)
    assert result.exit_code == 4
    assert "pip install pillow-heif" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_photo_under_another_name_is_known_by_its_content(folder):
    (folder / "a" / "0000.png").write_bytes(HEIC)
    with pytest.raises(DataError, match=r"0000.png: HEIC, whatever its name says.*pillow-heif"):
        load(folder)


def test_with_the_plugin_they_are_images(folder, monkeypatch):
    """A plugin as pillow-heif is one: importing it registers the format, which is Windows' bitmap here."""

    class Opener(BmpImagePlugin.BmpImageFile):
        format = "HEIF"

    plugin = ModuleType("pillow_heif.HeifImagePlugin")
    for path in (folder / "a").iterdir():
        Image.open(path).save(path.with_suffix(".HEIC"), format="BMP")
        path.unlink()
    with pytest.raises(DataError, match="pillow-heif"):
        load(folder)

    def imported(name):
        if name != plugin.__name__:
            raise ModuleNotFoundError(name)
        Image.register_open("HEIF", Opener, lambda prefix: prefix[:2] == b"BM")
        Image.register_extensions("HEIF", [".heic", ".heif"])

    formats._register_plugins.cache_clear()
    monkeypatch.setattr(formats, "import_module", imported)
    data = load(folder)
    assert (used(data), data.notes) == (20, ())


@pytest.mark.parametrize(
    "name", ["0001", "1234.5", "n0144_1.0001", "a.jpg?w=200", "b.jpg_large", "UPPER.PNG", "a."]
)
def test_images_by_content_where_the_name_does_not_tell(folder, name):
    (folder / "a" / "0000.png").rename(folder / "a" / name)
    data = load(folder)
    assert (used(data), data.notes) == (20, ())


@pytest.mark.parametrize(
    "name",
    ["a.h5", "clip.mpg", "a.png~", "1.jpg:Zone.Identifier", "Thumbs.db", "desktop.ini", "b.1", "a.mp4", "x.wmf"],
)
def test_other_files_are_no_images(folder, name):
    (folder / "a" / name).write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    data = load(folder)
    assert (used(data), data.notes) == (20, ("1 non-image file left out",))


@pytest.mark.parametrize("ending", ["gif", "tiff", "webp", "bmp", "jp2", "ppm", "avif", "tga"])
def test_usual_formats_are_read(tmp_path, ending):
    folder = write_images(tmp_path / "images", {"a": 5, "b": 5}, size=16, ending=ending)
    assert used(load(folder)) == 10


def test_of_several_frames_the_first_is_read(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("white", "black")]
    for ending in ("gif", "tiff", "png", "webp"):
        frames[0].save(tmp_path / f"a.{ending}", save_all=True, append_images=frames[1:])
        assert decode((tmp_path / f"a.{ending}").read_bytes(), Shape(8), {}).pixels_HWC.min() == 255


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (10_000, 1), (2, 3)])
def test_images_of_any_shape_are_read(tmp_path, shape):
    Image.new("RGB", shape, "white").save(tmp_path / "a.png")
    assert decode((tmp_path / "a.png").read_bytes(), Shape(8), {}).pixels_HWC.tolist() == [[[255] * 3] * 8] * 8


@pytest.mark.parametrize("name", ["images.zip", "images.tar.gz", "one.jpg"])
def test_a_file_is_no_folder(folder, run_on, name):
    path = folder.parent / name
    if name.endswith("jpg"):
        shutil.copy(folder / "a" / "0000.png", path)
    else:
        path.write_bytes(b"PK")
    result = run_on(path)
    assert result.exit_code == 4
    assert "is a file" in result.stderr
    assert ("unpack" in result.stderr) == (not name.endswith("jpg"))


def test_images_without_folders_are_counted(tmp_path, run_on):
    write_images(tmp_path / "images", {".": 7})
    result = run_on("images")
    assert result.exit_code == 4
    assert "found 7 images in the folder itself" in result.stderr


def test_every_class_that_is_too_small_is_named_at_once(tmp_path, run_on):
    write_images(tmp_path / "images", {"a": 5, "b": 2, "c": 0, "d": 1, "e": 3})
    result = run_on("images")
    assert result.exit_code == 4
    for text in ("b has 2 images of 3", "c has no images", "d has 1 image of 3"):
        assert text in result.stderr
    assert "a has" not in result.stderr
    assert "e has" not in result.stderr
