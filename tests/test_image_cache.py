"""Decoded images on disk are those of the files, whatever happened to process, disk or files."""

import errno
import os
import pickle
from multiprocessing import get_context

import numpy as np
import pytest
from PIL import Image

from conftest import write_images
from mvit2_search.store.folders import DECODED
from mvit2_search.task.data import images, source
from mvit2_search.task.data.cache import Cache, image_cache
from mvit2_search.task.data.decode import Shape
from mvit2_search.task.data.full import load_full
from mvit2_search.task.data.load import load_dataset

SQUARE = Shape(8)
WIDE = Shape(8, most_ratio=1.5)
HASH = "ab" * 31 + "00"  # its last byte is zero


def pixels(height=8, width=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def slots_in(folder, *, count=10, shape=SQUARE, limit=10**9, key="one"):
    return Cache(folder, limit).slots(key, count, shape)


def test_an_image_comes_back_as_it_was(tmp_path):
    slots = slots_in(tmp_path, shape=WIDE)
    some = {0: pixels(8, 8), 3: pixels(12, 8, 1), 9: pixels(8, 11, 2)}
    for place, image in some.items():
        slots.put(place, image, HASH)
    for opened in (slots, slots_in(tmp_path, shape=WIDE), pickle.loads(pickle.dumps(slots))):
        for place, image in some.items():
            np.testing.assert_array_equal(opened.get(place), image)
            assert opened.sha256(place) == HASH
        assert opened.get(1) is None


def put_one(slots, place):
    slots.put(place, pixels(seed=place), HASH)


def test_what_other_processes_keep_is_seen(tmp_path):
    slots = slots_in(tmp_path)
    context = get_context("fork")
    others = [context.Process(target=put_one, args=(slots, place)) for place in range(3)]
    for other in others:
        other.start()
        other.join()
    for place in range(3):
        np.testing.assert_array_equal(slots.get(place), pixels(seed=place))


@pytest.mark.parametrize("file", ["pixels", "index"])
@pytest.mark.parametrize("at", [0, 1, 3, 5, 20])
def test_a_changed_byte_is_noticed_and_the_image_can_be_kept_again(tmp_path, file, at):
    slots_in(tmp_path).put(0, pixels(), HASH)
    path = tmp_path / "one" / file
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)
    slots = slots_in(tmp_path)
    assert slots.get(0) is None
    slots.put(0, pixels(), HASH)
    np.testing.assert_array_equal(slots.get(0), pixels())


def test_a_cache_stays_within_its_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("mvit2_search.task.data.cache._CHECK_ROOM_EVERY", 4)
    shape, limit = Shape(64), 40 * 64 * 64 * 3
    slots = slots_in(tmp_path, count=200, shape=shape, limit=limit)
    for place in range(200):
        slots.put(place, pixels(64, 64), HASH)
    kept = sum(slots.get(place) is not None for place in range(200))
    assert 20 <= kept <= 50
    assert sum(path.stat().st_blocks * 512 for path in (tmp_path / "one").iterdir()) <= 1.3 * limit


def test_what_was_used_longest_ago_makes_room(tmp_path):
    for number, key in enumerate(("old", "used", "new")):
        slots = slots_in(tmp_path, key=key, count=10, shape=Shape(64))
        for place in range(10):
            slots.put(place, pixels(64, 64), HASH)
        os.utime(tmp_path / key / "index", (number, number))
    slots_in(tmp_path, key="used", count=10, shape=Shape(64))
    slots_in(tmp_path, key="next", count=10, shape=Shape(64), limit=400_000)  # 123 kB each
    assert {path.name for path in tmp_path.iterdir()} == {"used", "new", "next"}


def test_a_full_disk_keeps_nothing_and_disturbs_nothing(tmp_path, monkeypatch):
    slots = slots_in(tmp_path)
    slots.put(0, pixels(), HASH)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    slots.put(1, pixels(), HASH)
    monkeypatch.undo()
    slots.put(2, pixels(), HASH)
    assert [slots.get(place) is not None for place in range(3)] == [True, False, False]


def test_a_folder_that_cannot_be_made_is_no_cache(tmp_path):
    (tmp_path / "file").write_text("")
    assert slots_in(tmp_path / "file" / "below") is None
    assert image_cache(tmp_path, 0) is None


@pytest.fixture
def folder(tmp_path):
    return write_images(tmp_path / "images", {"a": 12, "b": 12}, size=20)


def loaded(folder, gigabytes=1.0, size=8):
    cache = image_cache(folder.parent / "results", gigabytes)
    return load_dataset(str(folder), image_size=size, max_train=1000, cache=cache)


def same(one, other):
    for part in ("train", "selection", "confirmation"):
        np.testing.assert_array_equal(getattr(one, part).pixels_NSSC, getattr(other, part).pixels_NSSC)
        np.testing.assert_array_equal(getattr(one, part).labels_N, getattr(other, part).labels_N)
    return (one.fingerprint, one.notes) == (other.fingerprint, other.notes)


def test_a_search_finds_the_images_of_another_one(folder, monkeypatch):
    before = loaded(folder, 0)
    assert same(before, loaded(folder))
    monkeypatch.setattr(images, "read_image", None)  # nothing is decoded
    assert same(before, loaded(folder))
    with pytest.raises(TypeError):
        loaded(folder, size=9)


def test_a_file_with_other_content_is_decoded_anew(folder):
    loaded(folder)
    path = folder / "a" / "0000.png"
    length = path.stat().st_size
    Image.new("RGB", (20, 20), "black").save(path)
    path.write_bytes(path.read_bytes().ljust(length, b"\0"))
    assert same(loaded(folder), loaded(folder, 0))


def test_deep_and_broken_images_are_the_same_from_a_cache(tmp_path):
    folder = write_images(tmp_path / "images", {"a": 600, "b": 600}, size=2)
    for i, value in enumerate((100, 300, 4000)):
        Image.fromarray(np.full((2, 2), value, np.uint16)).save(folder / "b" / f"deep{i}.png")
    (folder / "a" / "0100.png").write_bytes(b"no image")
    expected = loaded(folder, 0, size=2)
    assert len([note for note in expected.notes if "more than 8 bits" in note or "do not open" in note]) == 2
    for _ in range(2):
        assert same(expected, loaded(folder, size=2))


def test_too_small_a_cache_is_no_obstacle(folder):
    assert same(loaded(folder, 0), loaded(folder, 1e-8))


def test_a_full_training_decodes_a_file_once(folder, monkeypatch):
    def opened():
        cache = image_cache(folder.parent / "results", 1.0)
        return load_full(str(folder), size=16, whole=True, cache=cache)

    def contents(data):
        return [data.train.item(place).pixels_HWC.tobytes() for place in range(len(data.train))]

    expected = contents(load_full(str(folder), size=16, whole=True))
    assert contents(opened()) == expected
    monkeypatch.setattr(source, "decode", None)
    assert contents(opened()) == expected
    assert {path.name for path in (folder.parent / "results").iterdir()} == {DECODED}
