"""Images: the ones that ship, and whatever a user's folder may hold."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from conftest import write_images
from mvit2_search.arch import published_networks
from mvit2_search.errors import DataError
from mvit2_search.task.data.dataset import Dataset, centre, to_input
from mvit2_search.task.data.load import FOLDER, load_dataset

OFFICIAL = Path(os.environ.get("MVIT2_FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))


def load(folder, size=16, max_train=10_000) -> Dataset:
    return load_dataset(str(folder), image_size=size, max_train=max_train)


@pytest.mark.slow
def test_the_shipped_images_are_stratified_and_of_the_stated_numbers():
    data = load("fashion-mnist-mini", size=28)
    for split, each in ((data.train, 800), (data.selection, 500), (data.confirmation, 500)):
        assert np.bincount(split.labels_N).tolist() == [each] * 10
        assert split.pixels_NSSC.shape == (10 * each, 28, 28, 1)
    images = np.concatenate([s.pixels_NSSC for s in (data.train, data.selection, data.confirmation)])
    assert len({image.tobytes() for image in images}) > 17_950  # the official sets hold a few twins
    assert len(data.classes) == 10


@pytest.mark.slow
def test_classes_are_mixed_in_every_split():
    data = load("fashion-mnist-mini", size=28)
    for split in (data.train, data.selection, data.confirmation):
        assert np.bincount(split.first(1000).labels_N).tolist() == [100] * 10


def test_the_shipped_files_are_small():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 10_000_000


@pytest.mark.slow
def test_the_shipped_files_are_rebuilt_byte_for_byte(tmp_path):
    if not OFFICIAL.is_dir() and "MVIT2_REQUIRE_FASHION_MNIST" not in os.environ:
        pytest.skip(f"no official Fashion-MNIST in {OFFICIAL}: install Debian's dataset-fashion-mnist")
    script = Path(__file__).parent.parent / "scripts" / "build_fashion_mnist_mini.py"
    subprocess.run([sys.executable, script, OFFICIAL, "--output", tmp_path], check=True, capture_output=True)
    for name in ("images.npy.bz2", "labels.npy.bz2"):
        assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes()


def test_a_folder_is_split_by_class(tmp_path):
    data = load(write_images(tmp_path / "images", {"a": 50, "b": 20}))
    counts = [np.bincount(s.labels_N).tolist() for s in (data.train, data.selection, data.confirmation)]
    assert counts == [[30, 12], [10, 4], [10, 4]]
    assert data.classes == ("a", "b")
    assert data.train.pixels_NSSC.shape == (42, 16, 16, 3)


def test_labels_belong_to_their_images(tmp_path):
    data = load(write_images(tmp_path / "images", {"red": 9, "green": 9, "blue": 9}))
    for split in (data.train, data.selection, data.confirmation):
        brightest = split.pixels_NSSC.mean((1, 2)).argmax(1)
        names = [("red", "green", "blue")[i] for i in brightest]
        assert names == [data.classes[label] for label in split.labels_N]


def test_val_is_for_confirmation_only(tmp_path):
    write_images(tmp_path / "train", {"a": 10, "b": 10})
    write_images(tmp_path / "val", {"a": 4, "b": 3}, size=20)
    data = load(tmp_path)
    assert [len(s) for s in (data.train, data.selection, data.confirmation)] == [16, 4, 7]


def test_classes_of_a_folder_are_mixed_too(tmp_path):
    data = load(write_images(tmp_path / "images", {"a": 200, "b": 200}, size=2), size=2)
    for split in (data.train, data.selection, data.confirmation):
        assert 5 <= split.first(20).labels_N.sum() <= 15


def test_no_image_is_in_two_parts(tmp_path):
    data = load(write_images(tmp_path / "images", {"a": 40, "b": 40}))
    parts = [{image.tobytes() for image in s.pixels_NSSC} for s in (data.train, data.selection, data.confirmation)]
    assert len(parts[0] | parts[1] | parts[2]) == 80 == sum(map(len, parts))


def test_only_so_many_training_images_are_read(tmp_path):
    data = load(write_images(tmp_path / "images", {"a": 50, "b": 150}), max_train=20)
    assert np.bincount(data.train.labels_N).tolist() == [5, 15]


def test_the_fingerprint_follows_content_not_time_or_size(tmp_path):
    folder = write_images(tmp_path / "images", {"a": 10, "b": 10})
    before = load(folder).fingerprint
    (folder / "a" / "0000.png").touch()
    assert load(folder, size=24).fingerprint == before
    copy = shutil.copytree(folder, tmp_path / "elsewhere")
    assert load(copy).fingerprint == before
    shutil.copy(folder / "b" / "0001.png", folder / "a" / "0000.png")
    assert load(folder).fingerprint != before


def test_one_broken_image_in_a_thousand_is_named_and_skipped(tmp_path):
    folder = write_images(tmp_path / "images", {"a": 600, "b": 400}, size=2)
    (folder / "a" / "0007.png").write_bytes(b"")
    data = load(folder, size=2)
    assert sum(map(len, (data.train, data.selection, data.confirmation))) == 999
    assert data.notes == (
        f"1 of 1000 images do not open and are skipped: {folder / 'a' / '0007.png'}: empty file",
    )
    (folder / "b" / "0009.png").write_bytes((folder / "b" / "0008.png").read_bytes()[:50])
    with pytest.raises(DataError, match=r"2 of 1000 images do not open, over 0.1 %.*0007.png: empty file"):
        load(folder, size=2)


def test_other_files_are_left_out_and_counted(tmp_path):
    folder = write_images(tmp_path / "images", {"a": 5, "b": 5})
    (folder / "a" / "labels.txt").write_text("a")
    (folder / "a" / ".hidden.png").write_bytes(b"")
    (folder / ".git").mkdir()
    (folder / "b" / "readme.pdf").write_bytes(b"%PDF")
    (folder / "b" / "LICENSE").write_text("free")
    shutil.move(folder / "b" / "0000.png", folder / "b" / "no-ending")
    data = load(folder)
    assert data.notes == ("3 non-image files left out",)
    assert sum(map(len, (data.train, data.selection, data.confirmation))) == 10


def test_a_class_may_be_called_train(tmp_path):
    assert load(write_images(tmp_path / "images", {"car": 5, "train": 5})).classes == ("car", "train")


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({}, "no images; expected one sub-folder of images per class"),
        ({"a": 5}, "only one class, 'a'"),
        ({"a": 5, "b": 0}, "b has no images"),
        ({"a": 5, "b": 2}, "b has 2 images of 3"),
    ],
)
def test_folders_that_cannot_be_used(tmp_path, classes, message):
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match=message):
        load(write_images(tmp_path / "images", classes))


def test_a_folder_of_broken_images_has_no_usable_one(tmp_path):
    folder = write_images(tmp_path / "images", {"a": 5, "b": 5})
    for path in folder.rglob("*.png"):
        path.write_bytes(b"not an image")
    with pytest.raises(DataError, match="no usable image among 10"):
        load(folder)


def test_an_unknown_data_set_is_named():
    with pytest.raises(
        DataError, match="nowhere: no such folder, and the one shipped data set is fashion-mnist-mini"
    ):
        load("nowhere")


def test_inputs_are_rgb_between_zero_and_one():
    pixels = np.array([[[[0], [255]], [[51], [102]]]], np.uint8)
    x = to_input(pixels, "RGB")
    assert x.shape == (1, 3, 2, 2)
    for channel in x[0]:
        assert channel.flatten().tolist() == pytest.approx([0.0, 1.0, 0.2, 0.4])


def test_the_first_version_takes_bgr():
    pixels = np.array([[[[10, 20, 30]]]], np.uint8)
    assert (255 * to_input(pixels, "RGB")).flatten().tolist() == pytest.approx([10, 20, 30])
    assert (255 * to_input(pixels, "BGR")).flatten().tolist() == pytest.approx([30, 20, 10])
    for name, arch in published_networks().items():
        assert arch.channel_order == ("BGR" if name.startswith("mobilevitv1") else "RGB")


def test_the_centre_is_as_far_from_all_edges():
    pixels = np.arange(2 * 6 * 6, dtype=np.uint8).reshape(2, 6, 6, 1)
    assert (centre(pixels, 2) == pixels[:, 2:4, 2:4]).all()
    assert (centre(pixels[1], 4) == pixels[1, 1:5, 1:5]).all()
    assert centre(pixels, 6).shape == pixels.shape
