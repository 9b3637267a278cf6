"""Images that stay in their files until they are needed."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import write_images
from mvit2_search.arch import ArchConfig
from mvit2_search.errors import DataError
from mvit2_search.models import build_model
from mvit2_search.records import Recipe
from mvit2_search.task.data import full
from mvit2_search.task.data.dataset import to_input
from mvit2_search.task.data.full import load_full
from mvit2_search.task.data.source import ImageFiles
from mvit2_search.task.data.stored import Paths
from mvit2_search.train.full import train_fully
from mvit2_search.train.job import prepare_training
from mvit2_search.train.loader import Steps, batches
from mvit2_search.train.loop import evaluate
from trainings import Quiet, Stop, results, stopping_after

ARCH = ArchConfig.mobilevitv2(0.25)
RECIPE = Recipe(epochs=2, image_size=32, images_per_epoch=None, batch_size=8, crop_area=0.5)


def images_in(folder, count, **more):
    write_images(folder / "train", {"red": count, "green": count}, **more)
    write_images(folder / "val", {"red": 4, "green": 4}, **more)
    return folder


def emptied(path):
    Path(path).write_bytes(b"")


def few_looked_at(monkeypatch, count=4):
    monkeypatch.setattr(full, "_LOOKED_AT", count)


def test_paths_come_back_as_they_were():
    paths = ["a/1.jpg", "", os.fsdecode(b"b/\xff.jpg"), "ä/ü.png"]
    found = Paths(paths)
    assert list(found) == paths
    assert found[1:] == paths[1:]
    with pytest.raises(IndexError):
        found[4]


def test_few_files_are_opened_before_they_are_needed(tmp_path, monkeypatch):
    few_looked_at(monkeypatch)
    monkeypatch.setattr(full, "_HASHED", 10)
    opened, read = [], ImageFiles.read

    def remember(self, path):
        opened.append(path)
        return read(self, path)

    monkeypatch.setattr(ImageFiles, "read", remember)
    data = load_full(str(images_in(tmp_path, 20)), size=12)
    assert len(opened) == 4 + 4
    assert len(data.train) == 40
    del opened[:]
    data.train.item(30)
    assert opened == [data.train.paths[30]]


def test_names_and_sizes_tell_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(full, "_HASHED", 10)
    folder = images_in(tmp_path, 20)
    before = load_full(str(folder), size=12).fingerprint
    assert load_full(str(folder), size=16).fingerprint == before
    path = folder / "train" / "red" / "0003.png"
    path.write_bytes(path.read_bytes() + b"\0")
    changed = load_full(str(folder), size=12).fingerprint
    path.rename(path.with_name("other.png"))
    assert len({before, changed, load_full(str(folder), size=12).fingerprint}) == 3


@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        ((40, 40), (20, 20)),
        ((50, 40), (25, 20)),
        ((40, 56), (20, 28)),
        ((100, 40), (30, 20)),
        ((40, 99), (20, 30)),
    ],
)
def test_whole_images_keep_their_shape_up_to_three_to_two(tmp_path, sides, expected):
    for part in ("train", "val"):
        for name in "ab":
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(2):
                shade = Image.linear_gradient("L").resize(sides)
                shade.point(lambda value, i=i: value // (i + 1)).save(tmp_path / part / name / f"{i}.png")
    data = load_full(str(tmp_path), size=20, whole=True)
    height, width, _ = data.train.item(0).pixels_HWC.shape
    assert (width, height) == expected
    assert load_full(str(tmp_path), size=20).train.item(0).pixels_HWC.shape == (20, 20, 3)
    assert data.train.squares([0, 1]).pixels_NSSC.shape == (2, 20, 20, 3)
    square = load_full(str(tmp_path), size=20).train.item(0).pixels_HWC.astype(int)
    assert abs(data.train.squares([0]).pixels_NSSC[0] - square).max() < 12  # scaled in another order


def test_another_image_takes_the_place_of_one_that_does_not_open(tmp_path, monkeypatch):
    few_looked_at(monkeypatch, 1)
    data = load_full(str(images_in(tmp_path, 600, size=2)), size=2)
    broken = 7
    emptied(data.train.paths[broken])
    found, following = data.train.item(broken), data.train.item(broken + 1)
    np.testing.assert_array_equal(found.pixels_HWC, following.pixels_HWC)
    assert found.label == following.label
    assert data.train.faults == {data.train.paths[broken]: "empty file"}
    last = len(data.train) - 1
    emptied(data.train.paths[last])
    np.testing.assert_array_equal(data.train.item(last).pixels_HWC, data.train.item(0).pixels_HWC)


def test_test_images_that_do_not_open_are_left_out_of_the_score(tmp_path, monkeypatch):
    few_looked_at(monkeypatch, 1)
    data = load_full(str(images_in(tmp_path, 4, size=32)), size=32)
    model = build_model(ARCH, data.task.head)
    answers_N = data.task.answers(model.eval()(_input(data.test))).numpy()
    some = data.test.paths[:3]
    for path in some:
        emptied(path)
    right = (answers_N == data.test.labels_N)[3:]
    assert evaluate(model, data.test, data.task, device="cpu").score == pytest.approx(100 * right.mean())
    data.test.labels_N[:] = 1 - data.test.labels_N
    assert evaluate(model, data.test, data.task, device="cpu").score == pytest.approx(100 - 100 * right.mean())


def _input(images):
    return to_input(images.squares(range(len(images))).pixels_NSSC, "RGB")


def test_a_deep_image_that_is_met_late_is_scaled_by_the_range_of_all(tmp_path, monkeypatch):
    few_looked_at(monkeypatch, 1)
    images_in(tmp_path, 4)
    for i, value in enumerate((0, 500, 1000)):
        Image.fromarray(np.full((12, 12), value, np.uint16)).save(tmp_path / "train" / "red" / f"{i}.png")
    data = load_full(str(tmp_path), size=12)
    found = [int(data.train.item(place).pixels_HWC[0, 0, 0]) for place in range(len(data.train))]
    deep = [
        value
        for path, value in zip(data.train.paths, found, strict=True)
        if path[-6:] in ("/0.png", "/1.png", "/2.png")
    ]
    assert sorted(deep) == [0, 128, 255]


def job(folder, out, **more):
    return prepare_training(ARCH, RECIPE, data=str(folder), out=out, train_on="cpu", results=out.parent, **more)


@pytest.mark.slow
def test_neither_cache_nor_workers_nor_a_stop_change_the_weights(tmp_path):
    folder = images_in(tmp_path / "images", 12, size=40)
    train_fully(job(folder, tmp_path / "a" / "out", cache_gb=0), listener=Quiet())
    train_fully(job(folder, tmp_path / "b" / "out", workers=2), listener=Quiet())
    with pytest.raises(Stop):
        train_fully(job(folder, tmp_path / "c" / "out"), listener=Quiet(), check_interrupt=stopping_after(4))
    train_fully(job(folder, tmp_path / "c" / "out"), listener=Quiet())
    expected = results(tmp_path / "a" / "out")
    assert results(tmp_path / "b" / "out") == expected
    assert results(tmp_path / "c" / "out") == expected


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_training_tells_of_files_that_do_not_open_once_and_ends_where_they_are_many(
    tmp_path, monkeypatch, workers
):
    few_looked_at(monkeypatch, 1)
    folder = images_in(tmp_path / "images", 600, size=2)
    recipe = Recipe(epochs=2, image_size=32, images_per_epoch=None, batch_size=300)
    prepared = prepare_training(
        ARCH, recipe, data=str(folder), out=tmp_path / "out", train_on="cpu", results=tmp_path, workers=workers
    )
    first, *others = prepared.data.train.paths[5:9]
    emptied(first)
    listener = Quiet()
    train_fully(prepared, listener=listener)
    assert listener.warnings == [f"{first}: does not open and is skipped: empty file"]
    for path in others:
        emptied(path)
    again = prepare_training(
        ARCH, recipe, data=str(folder), out=tmp_path / "new", train_on="cpu", results=tmp_path, cache_gb=0
    )
    with pytest.raises(DataError, match=r"\d of 1208 images do not open, over 0.1 %"):
        train_fully(again, listener=Quiet())


def test_a_batch_is_the_same_whatever_made_it(tmp_path):
    data = load_full(str(images_in(tmp_path, 6, size=40)), size=32, whole=True)
    again = load_full(str(tmp_path), size=32, whole=True)
    made = Steps(data.train, RECIPE, seed=3)[1].batch
    for one, other in zip(made, Steps(again.train, RECIPE, seed=3)[1].batch, strict=True):
        assert one.equal(other)
    assert made.pixels_NSSC.shape == (8, 32, 32, 3)


@pytest.mark.parametrize("broken", [b"", None])
def test_first_images_that_are_broken_or_blank_stop_no_good_data(tmp_path, monkeypatch, broken):
    few_looked_at(monkeypatch, 1)
    images_in(tmp_path, 600, size=2)
    first = Path(load_full(str(tmp_path), size=2).train.paths[0])
    if broken is None:
        Image.new("RGB", (2, 2)).save(first)
    else:
        emptied(first)
    data = load_full(str(tmp_path), size=2)
    assert len(data.train.faults) == (broken is not None)


@pytest.mark.slow
def test_broken_test_images_of_the_last_epoch_are_told_and_counted(tmp_path, monkeypatch):
    few_looked_at(monkeypatch, 1)
    folder = images_in(tmp_path / "images", 600, size=2)
    recipe = Recipe(epochs=1, image_size=32, images_per_epoch=8, batch_size=8)

    def prepared(out):
        return prepare_training(
            ARCH, recipe, data=str(folder), out=tmp_path / out, train_on="cpu", results=tmp_path, cache_gb=0
        )

    one = prepared("one")
    emptied(one.data.test.paths[7])
    listener = Quiet()
    train_fully(one, listener=listener)
    assert listener.warnings == [f"{one.data.test.paths[7]}: does not open and is skipped: empty file"]
    two = prepared("two")
    emptied(two.data.test.paths[6])
    with pytest.raises(DataError, match=r"2 of 1208 images do not open, over 0.1 %"):
        train_fully(two, listener=Quiet())
    assert not (tmp_path / "two" / "checkpoint-best").exists()


def test_what_a_worker_cannot_read_is_one_line(tmp_path, monkeypatch):
    data = load_full(str(images_in(tmp_path, 4, size=8)), size=32)
    for path in data.train.paths:
        emptied(path)
    with pytest.raises(DataError, match=r"^none of 8 images opens; the first: \S+$"):
        next(batches(Steps(data.train, RECIPE, seed=0), 0, 2, workers=1))
