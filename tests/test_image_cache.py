"""Decoded images on disk are those of the files, whatever happened to process, disk or files."""

import errno
import os
import pickle
import shutil
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import write_images
from mvit2_search.store.folders import DECODED
from mvit2_search.task.data import source, stored
from mvit2_search.task.data.cache import Cache, Slots, image_cache, slot_bytes
from mvit2_search.task.data.decode import Shape
from mvit2_search.task.data.full import load_full
from mvit2_search.task.data.load import load_dataset

SQUARE = Shape(8)
WIDE = Shape(8, most_ratio=1.5)
HASH = "ab" * 31 + "00"  # its last byte is zero


def pixels(height=8, width=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def slots_in(folder, *, count=10, shape=SQUARE, limit=10**9, key="one"):
    kept = Cache(folder, limit).opened(key, count * slot_bytes(shape))
    return kept and kept.slots("all", count, shape)


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
    path = tmp_path / "one" / "all" / file
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)
    slots = slots_in(tmp_path)
    assert slots.get(0) is None
    slots.put(0, pixels(), HASH)
    np.testing.assert_array_equal(slots.get(0), pixels())


def filled(slots, count, size=64):
    for place in range(count):
        slots.put(place, pixels(size, size), HASH)
    return sum(slots.get(place) is not None for place in range(count))


def on_disk(folder):
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*"))


def test_a_cache_stays_within_its_limit_whoever_fills_it(tmp_path, monkeypatch):
    monkeypatch.setattr("mvit2_search.task.data.cache._CHECK_ROOM_EVERY", 4)
    shape, limit = Shape(64), 40 * 64 * 64 * 3
    some = [slots_in(tmp_path, count=200, shape=shape, limit=limit, key=key) for key in ("one", "two")]
    kept = [filled(slots, 200) for slots in some]
    assert 20 <= kept[0] <= 50
    assert kept[1] <= 5
    assert on_disk(tmp_path) <= 1.4 * limit


def test_a_cache_leaves_some_of_the_disk_free(tmp_path, monkeypatch):
    monkeypatch.setattr("mvit2_search.task.data.cache._LEFT_FREE", 1e18)
    assert filled(slots_in(tmp_path, shape=Shape(64)), 10) == 0


def test_what_was_used_longest_ago_makes_room_but_not_what_is_in_use(tmp_path):
    names = ("used", "again", "old", "half", "new")
    for number, key in enumerate(names):
        filled(slots_in(tmp_path, key=key, shape=Shape(64)), 10)
        os.utime(tmp_path / key, (number, number))
    (tmp_path / "half" / "all" / "index").unlink()  # as a killed removal leaves it
    os.utime(tmp_path / "half", (3, 3))
    used = slots_in(tmp_path, key="used", shape=Shape(64))
    os.utime(tmp_path / "used", (0, 0))
    slots_in(tmp_path, key="again", shape=Shape(64))
    slots_in(tmp_path, key="next", shape=Shape(64), limit=530_000)  # 123 kB each
    assert {path.name for path in tmp_path.iterdir()} == {"used", "again", "new", "next"}
    assert used.get(9) is not None


def test_both_parts_of_a_data_set_stay_where_they_are_larger_than_the_limit(folder):
    def kept():
        cache = Cache(folder.parent / DECODED, 30_000)
        data = load_full(str(folder), size=64, cache=cache)
        for part in (data.train, data.test):
            part.squares(range(len(part)))
        return list((folder.parent / DECODED).rglob("index")), data

    first, data = kept()
    assert len(first) == 2
    second, _ = kept()
    assert second == first
    assert data.train.slots.get(0) is not None


def test_slots_that_were_removed_by_hand_keep_nothing(tmp_path):
    packed = pickle.dumps(slots_in(tmp_path / "cache"))
    shutil.rmtree(tmp_path / "cache")
    slots = pickle.loads(packed)
    slots.put(0, pixels(), HASH)
    assert slots.get(0) is None


def test_a_full_disk_keeps_nothing_and_disturbs_nothing(tmp_path, monkeypatch):
    slots = slots_in(tmp_path)
    slots.put(0, pixels(), HASH)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    slots.put(1, pixels(), HASH)
    monkeypatch.undo()
    slots.put(2, pixels(), HASH)  # until it is opened again
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
    monkeypatch.setattr(stored, "read_image", None)  # nothing is decoded
    assert same(before, loaded(folder))
    with pytest.raises(TypeError):
        loaded(folder, size=9)


def bitmaps(folder, value):
    """Files of equal names, sizes and times, whatever is on them."""
    for name in "ab":
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(12):
            path = folder / name / f"{i}.bmp"
            Image.new("RGB", (20, 20), (value + 5 * i, 0, 0)).save(path)
            os.utime(path, (0, 0))
    return folder


def test_a_file_with_other_content_is_decoded_anew(tmp_path):
    folder = bitmaps(tmp_path / "images", 0)
    before = loaded(folder)
    bitmaps(folder, 3)
    after = loaded(folder)
    assert same(after, loaded(folder, 0))
    assert after.fingerprint != before.fingerprint
    cache = image_cache(tmp_path / "results", 1.0)
    first = load_full(str(folder), size=16, cache=cache)
    first.train.squares(range(len(first.train)))
    bitmaps(folder, 6)
    for _ in range(2):
        changed = load_full(str(folder), size=16, cache=cache)
        expected = load_full(str(folder), size=16)
        every = range(len(expected.train))
        np.testing.assert_array_equal(
            changed.train.squares(every).pixels_NSSC, expected.train.squares(every).pixels_NSSC
        )


def test_two_folders_with_the_same_names_sizes_and_times_have_their_own_images(tmp_path, monkeypatch):
    monkeypatch.setattr(
        source.ImageFiles, "stamps", lambda _, paths: ((Path(path).stat().st_size, 0) for path in paths)
    )
    one, other = (bitmaps(tmp_path / name / "images", value) for name, value in (("x", 0), ("y", 7)))
    cache = image_cache(tmp_path / "results", 1.0)
    for folder in (one, other):
        load = partial(load_dataset, str(folder), image_size=8, max_train=100)
        assert same(load(cache=cache), load())
        full = partial(load_full, str(folder), size=16)
        for _ in range(2):
            some = [data.train.squares(range(5)).pixels_NSSC for data in (full(cache=cache), full())]
            np.testing.assert_array_equal(*some)


def test_a_file_that_changes_after_it_was_listed_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("mvit2_search.task.data.full._LOOKED_AT", 1)
    folder = bitmaps(tmp_path / "images", 0)
    data = load_full(str(folder), size=16, cache=image_cache(tmp_path / "results", 1.0))
    bitmaps(folder, 9)
    data.train.item(5)
    assert data.train.slots.get(0) is not None
    assert data.train.slots.get(5) is None


def test_a_search_that_is_killed_among_deep_images_leaves_no_wrong_values(tmp_path, monkeypatch):
    folder = write_images(tmp_path / "images", {"a": 8, "b": 8}, size=2)
    for i, value in enumerate((100, 330, 4000)):
        Image.fromarray(np.full((2, 2), value, np.uint16)).save(folder / "b" / f"deep{i}.png")
    expected, put = loaded(folder, 0, size=2), Slots.put

    def killed(self, place, pixels_HWC, sha256):
        put(self, place, pixels_HWC, sha256)
        if pixels_HWC.max() == pixels_HWC.min() == 255:  # the brightest one
            raise KeyboardInterrupt

    monkeypatch.setattr(Slots, "put", killed)
    with pytest.raises(KeyboardInterrupt):
        loaded(folder, size=2)
    monkeypatch.undo()
    for _ in range(2):
        assert same(expected, loaded(folder, size=2))


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
