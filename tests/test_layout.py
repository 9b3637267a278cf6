"""How other people's folders of images are read: by their parts, and never by guessing."""

import os

import numpy as np
import pytest
from PIL import Image

from conftest import write_images
from mvit2_search.errors import DataError
from mvit2_search.task.data.folder import part_named
from mvit2_search.task.data.load import load_dataset

BOTH = {"a": 10, "b": 10}


def load(folder, **options):
    return load_dataset(str(folder), image_size=8, **{"max_train": 10_000, **options})


def sizes(data):
    return [len(part) for part in (data.train, data.selection, data.confirmation)]


def brightness(split):
    """What `paint` wrote into the images of a part."""
    return set(split.pixels_NSSC.reshape(len(split), -1).mean(1).round().astype(int).tolist())


def paint(folder, classes, value):
    """Images of one brightness, so that a part shows where its images come from."""
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(10):
            image = Image.new("L", (9 + i, 8), value)
            image.putpixel(((9 + i) // 2, 4), value + 10)
            image.save(folder / name / f"{i}.png")


@pytest.mark.parametrize(
    "names",
    [
        ("train", "valid", "test"),
        ("Training", "Validation", "Testing"),
        ("TRAIN", "dev", "held-out"),
        ("training_set", "val2017", "test_images"),
    ],
)
def test_three_parts_are_used_as_what_they_are(tmp_path, names):
    for name, value in zip(names, (10, 20, 30), strict=True):
        paint(tmp_path / name, "ab", value)
    data = load(tmp_path)
    assert [brightness(part) for part in (data.train, data.selection, data.confirmation)] == [{10}, {20}, {30}]
    assert sizes(data) == [20, 20, 20]
    assert data.classes == ("a", "b")


@pytest.mark.parametrize(
    ("train", "held_out"),
    [
        ("train", "validation"),
        ("train", "test"),
        ("training", "validation"),
        ("Train", "Val"),
        ("trainset", "testset"),
    ],
)
def test_one_held_out_part_confirms_and_the_rest_is_cut(tmp_path, train, held_out):
    paint(tmp_path / train, "ab", 10)
    paint(tmp_path / held_out, "ab", 30)
    data = load(tmp_path)
    assert [brightness(part) for part in (data.train, data.selection, data.confirmation)] == [{10}, {10}, {30}]
    assert sizes(data) == [16, 4, 20]


def test_the_command_says_which_part_is_used_for_what(tmp_path, run_on):
    for name in ("Train", "valid", "Testing"):
        write_images(tmp_path / "images" / name, BOTH)
    result = run_on(tmp_path / "images")
    assert result.exit_code == 0, result.output
    assert "20 training, 20 selection and 20 confirmation images of 2 classes: a, b" in result.output
    assert "Train/ to train on, valid/ to select by, Testing/ to confirm with" in result.output


def test_the_fingerprints_of_version_0_1_stay(tmp_path):
    """Studies of folders that were read correctly go on; values from version 0.1."""
    write_images(tmp_path / "train", BOTH, ending="bmp")
    write_images(tmp_path / "val", BOTH, size=9, ending="bmp")
    assert load(tmp_path).fingerprint == "11e75e90c5775919"
    assert load(tmp_path / "train").fingerprint == "aa885edaf130cc3a"


@pytest.mark.slow
@pytest.mark.parametrize("held_out", ["test", "val", "Validation"])
def test_images_without_classes_are_not_used_and_counted(tmp_path, run_on, held_out):
    write_images(tmp_path / "images" / "train", BOTH)
    write_images(tmp_path / "images", {held_out: 7, "unlabeled": 3})
    (tmp_path / "images" / "annotations").mkdir()
    result = run_on(tmp_path / "images")
    assert result.exit_code == 0, result.output
    assert f"{held_out}/ (7 images, no sub-folder per class)" in result.output
    assert "unlabeled/ (3 images)" in result.output
    assert "annotations/ (no images)" in result.output
    assert "12 training, 4 selection and 4 confirmation images" in result.output


def test_one_folder_of_all_test_images_is_no_class(tmp_path):
    write_images(tmp_path / "train", BOTH)
    write_images(tmp_path / "test", {"unknown": 7})
    data = load(tmp_path)
    assert sizes(data) == [12, 4, 4]
    assert any("test/" in note and "unknown/" in note for note in data.notes)


def test_images_beside_the_classes_are_counted(tmp_path):
    write_images(tmp_path / "images", {**BOTH, ".": 3})
    assert any(note == "3 images beside the class folders, not used" for note in load(tmp_path / "images").notes)


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        (["val/a", "test/a"], ["has test/ and val/", "no train/"]),
        (["test/a", "test/b"], ["has test/", "no train/"]),
        (["train/a", "train/b", "val/a", "val/b", "validation/a"], ["val/ and validation/", "both"]),
        (["train/a", "train/b", "Train/a"], ["Train/ and train/", "both"]),
        (["train", "test"], ["test/ and train/", "test/<class>/"]),
        (["Train", "Val", "cat"], ["Train/ and Val/", "look like parts"]),
        (["train/a", "train/b", "car"], ["train/", "car/", "like classes"]),
        (["train/a", "train/b", "val/a", "val/b", "a", "b"], ["a/ and b/", "like classes"]),
        (
            ["train/train/a", "train/train/b", "train/val/a"],
            ["train/ and val/ look like parts", "--data {root}/train"],
        ),
        (["split/train/a", "split/val/a"], ["only one class, 'split'", "--data {root}/split"]),
        (["data/train/a", "data/train/b"], ["only one class, 'data'", "--data {root}/data"]),
        (
            ["seg_train/a", "seg_test/a", "seg_pred"],
            ["seg_test/ and seg_train/ look like parts", "call them train/"],
        ),
        (["my-train", "my-test"], ["my-test/ and my-train/ look like parts"]),
        (["cat/train", "cat/val", "dog/train", "dog/val"], ["cat/ has train/ and val/", "train/<class>/"]),
        (["train/a", "val/a"], ["train: only one class, 'a'"]),
        (["train", "val", "test", "a", "b", "c", "d"], ["test/, train/ and val/ look like parts"]),
        (["Train", "Val", "a", "b", "c"], ["Train/ and Val/ look like parts"]),
        (["x/train", "x/test", "y/train", "y/test", "z/train"], ["x/ has test/ and train/", "train/<class>/"]),
        (["x", "y/train", "y/test"], ["y/ has test/ and train/", "train/<class>/"]),
        (["fold1/cat", "fold1/dog", "fold2/cat", "fold2/dog"], ["each have cat/ and dog/", "parts", "--data"]),
        (
            ["entrenamiento/a", "entrenamiento/b", "prueba/a", "prueba/b"],
            ["each have a/ and b/", "call them train/"],
        ),
        (["fold1/a", "fold1/b", "fold1/c", "fold2/A", "fold2/b"], ["fold1/ and fold2/ each have a/ and b/"]),
        (["trainA", "trainB", "testA", "testB"], ["testA/, testB/, trainA/ and trainB/ look like parts"]),
        (["PublicTrain/a", "PublicTrain/b", "PublicTest/a"], ["PublicTest/ and PublicTrain/ look like parts"]),
        (["trains/a", "trains/b", "tests/a", "tests/b", "tests/c"], ["each have a/ and b/", "call them train/"]),
        (["fold1/a", "fold1/b", "fold1", "fold2/a", "fold2/b"], ["fold1/ and fold2/ each have a/ and b/"]),
        (
            ["train/images/a", "train/images/b", "val/images/a", "val/images/b"],
            ["train: only one class, 'images'", "move them up into train/"],
        ),
    ],
    ids="-".join,
)
def test_what_can_be_read_in_two_ways_is_refused_with_the_remedy(tmp_path, run_on, folders, words):
    write_images(tmp_path / "images", dict.fromkeys(folders, 5))
    result = run_on(tmp_path / "images")
    assert result.exit_code == 4
    assert "Traceback" not in result.output
    for word in words:
        assert word.format(root=tmp_path / "images") in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "classes",
    [
        ["car", "train"],
        ["bus", "test"],
        ["apple", "bear", "pear", "test"],
        ["test1", "test2"],
        ["training", "valley", "xylophone"],
        ["bullet train", "crash test", "plane", "ship", "steam train"],
    ],
)
def test_a_class_may_be_named_like_a_part(tmp_path, classes):
    data = load(write_images(tmp_path / "images", dict.fromkeys(classes, 5)))
    assert data.classes == tuple(classes)
    read = [name for name in classes if part_named(name)]
    noted = any(all(f"{name}/" in note for name in read) and "read as" in note for note in data.notes)
    assert noted == bool(read)


def test_classes_that_differ_in_capitals_alone_are_noted(tmp_path):
    data = load(write_images(tmp_path / "images", {"A": 5, "a": 5, "b": 5}))
    assert data.classes == ("A", "a", "b")
    assert "classes that differ in capitals alone: A; a" in data.notes


def test_a_class_inside_of_parts_may_be_named_like_one(tmp_path):
    for part in ("train", "val"):
        write_images(tmp_path / part, {"bus": 5, "train": 5})
    assert load(tmp_path).classes == ("bus", "train")


def test_every_class_that_a_part_lacks_is_named_at_once(tmp_path, run_on):
    write_images(tmp_path / "images" / "train", {"a": 5, "b": 5, "c": 1, "d": 0, "f": 5})
    write_images(tmp_path / "images" / "val", {"a": 5, "c": 5, "d": 5, "e": 5, "f": 0})
    result = run_on(tmp_path / "images")
    assert result.exit_code == 4
    for text in ("val/b is missing", "train/e is missing", "train/c has 1 image of 2", "train/d has no images"):
        assert text in result.stderr
    assert "val/f has no images" in result.stderr


def test_nested_folders_belong_to_their_class(tmp_path):
    write_images(tmp_path / "images", {"cat/persian": 5, "cat/siam": 5, "dog": 5})
    data = load(tmp_path / "images")
    assert data.classes == ("cat", "dog")
    assert sum(np.bincount(part.labels_N)[0] for part in (data.train, data.selection, data.confirmation)) == 10


@pytest.mark.parametrize(
    "folders",
    [
        ["a/left", "a/right", "b/left", "b/right", "c/left"],
        ["train/a/left", "train/a/right", "train/b/left", "train/b/right"],  # the remedy where all are equal
        ["a/inner", "b/inner"],
    ],
)
def test_classes_may_have_folders_of_the_same_names(tmp_path, folders):
    data = load(write_images(tmp_path / "images", dict.fromkeys(folders, 5)))
    assert data.classes == ("a", "b", "c")[: len(data.classes)]


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    folder = write_images(tmp_path / "images", {"a/inner": 5, "b": 5})
    real = os.scandir

    def scandir(path):
        if str(path).endswith("inner"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match=r"images/a/inner: Permission denied"):
        load(folder)


def test_classes_may_share_a_sub_folder_or_have_images_beside_them(tmp_path):
    write_images(tmp_path / "one", {"cat/flickr": 5, "dog/flickr": 5, "dog/own": 5})
    write_images(tmp_path / "two", {"cat/a": 5, "cat/b": 5, "cat/c": 5, "cat": 5, "dog/a": 5, "dog/b": 5})
    assert [load(tmp_path / name).classes for name in ("one", "two")] == [("cat", "dog")] * 2


def test_words_in_capitals_are_no_parts_without_one_for_training(tmp_path):
    assert load(write_images(tmp_path, {"DevOps": 5, "TestOps": 5})).classes == ("DevOps", "TestOps")


def test_code_beside_the_parts_is_not_used(tmp_path):
    write_images(tmp_path, {"train/a": 10, "train/b": 10, "test/a": 5, "test/b": 5})
    (tmp_path / "tests" / "unit").mkdir(parents=True)
    (tmp_path / "tests" / "unit" / "test_a.py").touch()
    data = load(tmp_path)
    assert data.classes == ("a", "b")
    assert any("not used: tests/ (no images)" in note for note in data.notes)


def test_a_class_that_is_called_unlabeled_is_noted(tmp_path):
    data = load(write_images(tmp_path, {"labeled/a": 5, "labeled/b": 5, "unlabeled": 5}))
    assert any("unlabeled/: read as a class" in note for note in data.notes)
