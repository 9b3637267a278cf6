"""The images of a full training: which are trained on, which are tested on, and what odd files become."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import write_images
from mvit2_search.errors import DataError
from mvit2_search.task.data import dataset
from mvit2_search.task.data.full import load_full, load_tests
from mvit2_search.task.data.load import load_dataset

SIZE = 12  # of the images that are written: nothing is scaled


def full(folder, size=SIZE):
    return load_full(str(folder), size=size)


def pixels(images):
    return images.squares(range(len(images))).pixels_NSSC


def contents(images):
    return [image.tobytes() for image in pixels(images)]


def files(folder):
    return {np.asarray(Image.open(path)).tobytes() for path in Path(folder).rglob("*.png")}


@pytest.mark.parametrize(
    ("parts", "tested", "note"),
    [
        (["train", "val"], "val", "train/ to train on, val/ to test on"),
        (["train", "test"], "test", "train/ to train on, test/ to test on"),
        (["train", "val", "test"], "val", "train/ to train on, val/ to test on; test/ is not used"),
        (["training_set", "validation"], "validation", "training_set/ to train on, validation/ to test on"),
    ],
)
def test_all_of_one_part_is_trained_on_and_all_of_another_tested_on(tmp_path, parts, tested, note):
    for i, part in enumerate(parts):
        write_images(tmp_path / part, {"a": 9 + i, "b": 4 + i}, size=SIZE)
        for path in (tmp_path / part).rglob("*.png"):
            Image.fromarray(np.asarray(Image.open(path)) ^ np.uint8(i)).save(path)  # other images in each part
    data = full(tmp_path)
    assert sorted(contents(data.train)) == sorted(files(tmp_path / parts[0]))
    assert sorted(contents(data.test)) == sorted(files(tmp_path / tested))
    assert data.notes == (note,)
    assert data.classes == ("a", "b")


def test_more_images_are_tested_than_a_search_would_confirm_with(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "_MAX_TEST", 4)
    write_images(tmp_path / "train", {"a": 6, "b": 6})
    write_images(tmp_path / "val", {"a": 10, "b": 10})
    assert len(full(tmp_path).test) == 20


@pytest.mark.parametrize("most", [5_000, 6, 11])
@pytest.mark.parametrize("classes", [{"a": 40, "b": 25}, {"a": 25, "b": 4, "c": 4}])
def test_without_parts_the_tests_are_those_that_a_search_confirms_with(tmp_path, monkeypatch, classes, most):
    monkeypatch.setattr(dataset, "_MAX_TEST", most)
    folder = write_images(tmp_path / "images", classes, size=SIZE)
    search = load_dataset(str(folder), image_size=SIZE, max_train=10_000)
    data = full(folder)
    assert contents(data.test) == contents(search.confirmation)
    assert data.test.labels_N.tolist() == search.confirmation.labels_N.tolist()
    assert {*contents(data.train)}.isdisjoint(contents(data.test))
    assert {*contents(data.train), *contents(data.test)} == files(folder)
    assert len(data.train) + len(data.test) == sum(classes.values())


@pytest.mark.slow
def test_the_shipped_images_are_tested_on_those_that_a_search_confirms_with():
    search = load_dataset("fashion-mnist-mini", image_size=28, max_train=10_000)
    data = full("fashion-mnist-mini", size=28)
    assert contents(data.test) == contents(search.confirmation)
    assert {*contents(data.train)}.isdisjoint(contents(search.confirmation))


def test_labels_belong_to_their_images(tmp_path):
    data = full(write_images(tmp_path / "images", {"red": 9, "green": 9, "blue": 9}))
    for split in (data.train, data.test):
        brightest = pixels(split).mean((1, 2)).argmax(1)
        assert [data.classes[label] for label in split.labels_N] == [
            ("red", "green", "blue")[i] for i in brightest
        ]


@pytest.mark.slow
def test_the_first_training_images_are_of_all_classes(tmp_path):
    """Batch statistics are estimated on the first 512."""
    write_images(tmp_path / "train", {"a": 300, "b": 300, "c": 300}, size=2)
    write_images(tmp_path / "val", {"a": 2, "b": 2, "c": 2}, size=2)
    data = full(tmp_path, size=2)
    assert np.bincount(data.train.labels_N[:512], minlength=3).min() > 140
    assert np.bincount(data.train.labels_N[:20], minlength=3).min() >= 2


@pytest.fixture
def odd(tmp_path):
    """train/ of plain images, and val/ with one odd image in each class."""
    names = ("cmyk", "deep", "grey", "turned")
    write_images(tmp_path / "odd" / "train", dict.fromkeys(names, 3))
    val = tmp_path / "odd" / "val"
    for name in names:
        (val / name).mkdir(parents=True)
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(val / "cmyk" / "1.jpg", quality=95)
    Image.fromarray(np.full((16, 16), 300, np.uint16)).save(val / "deep" / "1.png")
    Image.fromarray(np.full((16, 16), 4300, np.uint16)).save(tmp_path / "odd" / "train" / "deep" / "16.png")
    Image.fromarray(np.full((16, 16), 2300, np.uint16)).save(val / "deep" / "2.png")
    Image.new("L", (16, 16), 77).save(val / "grey" / "1.png")
    half = Image.new("RGB", (32, 16), "black")
    half.paste("white", (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    half.save(val / "turned" / "1.jpg", exif=exif)
    return tmp_path / "odd"


def test_odd_files_are_read_as_a_search_reads_them(odd):
    data = full(odd)
    of = {name: pixels(data.test)[data.test.labels_N == i] for i, name in enumerate(data.classes)}
    assert of["cmyk"][..., 0].min() > 240
    assert of["cmyk"][..., 1:].max() < 15
    assert (of["grey"] == 77).all()
    assert sorted(of["deep"][:, 0, 0, 0].tolist()) == [0, 128]  # of 300 to 4300, in both parts
    rows = of["turned"][0].mean((1, 2))
    assert rows[0] > 200
    assert rows[-1] < 50
    assert any("integer images of more than 8 bits: scaled from 300" in note for note in data.notes)


def test_the_tests_alone_are_the_same_images(odd, tmp_path):
    """Also where the range of the values of 16 bits is that of all images."""
    plain = write_images(tmp_path / "plain", {"a": 30, "b": 10})
    for folder in (odd, plain):
        alone, data = load_tests(str(folder), size=SIZE), full(folder)
        assert contents(alone.test) == contents(data.test)
        assert alone.test.labels_N.tolist() == data.test.labels_N.tolist()
        assert alone.classes == data.classes
    assert len(alone.train) == 0


def test_the_tests_alone_need_no_training_image_that_opens(tmp_path):
    write_images(tmp_path / "train", {"a": 5, "b": 5})
    write_images(tmp_path / "val", {"a": 2, "b": 2})
    for path in (tmp_path / "train").rglob("*.png"):
        path.write_bytes(b"no image")
    assert len(load_tests(str(tmp_path), size=SIZE).test) == 4
    with pytest.raises(DataError, match="10 of 14 images do not open"):
        full(tmp_path)


@pytest.mark.slow
def test_one_broken_image_in_a_thousand_is_skipped_and_moves_no_label(tmp_path):
    write_images(tmp_path / "train", {"red": 480, "green": 480}, size=2)
    write_images(tmp_path / "val", {"red": 20, "green": 20}, size=2)
    broken = Path(full(tmp_path, size=2).train.paths[7])
    broken.write_bytes(b"")
    data = full(tmp_path, size=2)
    assert (len(data.train), len(data.test)) == (960, 40)
    assert f"1 of 1000 images do not open and are skipped: {broken}: empty file" in data.notes
    items = [data.train.item(place) for place in range(len(data.train))]
    shown = data.test.squares(range(40))
    for pixels_HWC, label in [*items, *zip(shown.pixels_NSSC, data.test.labels_N[shown.good_N], strict=True)]:
        assert ("red", "green")[pixels_HWC.mean((0, 1)).argmax()] == data.classes[label]
    (tmp_path / "val" / "red" / "0007.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"2 of 1000 images do not open, over 0.1 %"):
        full(tmp_path, size=2)


@pytest.mark.parametrize("changed", ["train/a/0001.png", "val/b/0000.png"])
def test_the_fingerprint_follows_the_content_of_every_file(tmp_path, changed):
    write_images(tmp_path / "train", {"a": 5, "b": 5})
    write_images(tmp_path / "val", {"a": 2, "b": 2}, size=20)
    before = full(tmp_path).fingerprint
    (tmp_path / changed).touch()
    assert full(tmp_path, size=24).fingerprint == before
    Image.new("RGB", (SIZE, SIZE)).save(tmp_path / changed)
    assert full(tmp_path).fingerprint != before


def test_copies_of_training_images_among_the_tests_are_counted(tmp_path):
    write_images(tmp_path / "train", {"a": 5, "b": 5})
    write_images(tmp_path / "val", {"a": 2, "b": 2}, size=20)
    shutil.copy(tmp_path / "train" / "a" / "0002.png", tmp_path / "val" / "a" / "0001.png")
    shutil.copy(tmp_path / "train" / "a" / "0002.png", tmp_path / "val" / "b" / "0001.png")
    note = "2 test images of 4 are exact copies of training images: accuracies come out too high"
    assert note in full(tmp_path).notes


def test_images_without_any_difference_are_refused(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(5):
            Image.new("RGB", (8, 8), "black").save(tmp_path / name / f"{i}.png")
    with pytest.raises(DataError, match="all pixels of all training images are equal"):
        full(tmp_path)
