"""WebDataset shards give what the folder of their images gives."""

import gzip
import os
import pickle
import tarfile
from collections import Counter
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from conftest import write_images
from mvit2_search.errors import DataError
from mvit2_search.task.data.full import load_full
from mvit2_search.task.data.load import load_dataset, load_images
from packed import assert_workers_change_nothing, write_shards, write_tar

SIZE = 12
PARTS = ("train", "val", "test")


def write_parts(root, parts=PARTS):
    """Class folders with images of all kinds, in each part others."""
    for i, part in enumerate(parts):
        write_images(root / part, {"cat": 8 - i, "dog": 6 - i}, size=SIZE)
        for path in (root / part).rglob("*.png"):
            Image.fromarray(np.asarray(Image.open(path)) ^ np.uint8(i)).save(path)
        Image.new("L", (SIZE, SIZE), 77 + i).save(root / part / "cat" / "grey.png")
        values = np.arange(300 + i, 300 + i + SIZE * SIZE, dtype=np.uint16).reshape(SIZE, SIZE)
        Image.fromarray(values).save(root / part / "dog" / "deep.png")
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_parts(tmp_path_factory.mktemp("folder"))


@pytest.fixture(scope="module")
def shards(folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("shards")
    for part in PARTS:
        write_shards(folder / part, root, f"pets1k-{part}-")
    (root / "classnames.txt").write_text("cat\ndog\n")
    return root


def png(value=0):
    file = BytesIO()
    Image.new("L" if value % 2 else "RGB", (2, 2), 3 * (value,) if value % 2 == 0 else value).save(file, "png")
    return file.getvalue()


def samples(numbers, start="image"):
    """Of so many images, each with the number of its class."""
    files = {}
    for i, number in enumerate(numbers):
        files |= {f"{start}{i}.png": png(i % 256), f"{start}{i}.cls": str(number).encode()}
    return files


def search(root):
    return load_dataset(str(root), image_size=SIZE, max_train=1_000)


def full(root, size=SIZE):
    return load_full(str(root), size=size)


def held(images):
    """How many times which pixels have which class."""
    pixels = images.squares(range(len(images))).pixels_NSSC
    return Counter((int(label), one.tobytes()) for label, one in zip(images.labels_N, pixels, strict=True))


def splits(root):
    found, data = search(root), full(root)
    return {
        "classes": (found.classes, data.classes),
        "search": [held(split) for split in (found.train, found.selection, found.confirmation)],
        "full": [held(images) for images in (data.train, data.test)],
    }


def all_held(root):
    """In all splits together."""
    found, data = splits(root), search(root)
    return found["classes"], sum(found["search"], Counter()), sum(found["full"], Counter()), data.notes


def error(root):
    with pytest.raises(DataError) as caught:
        full(root)
    text = str(caught.value)
    assert "\n" not in text
    return text.replace(f"{root}/", "").replace(f"{root}: ", "")


def test_shards_give_the_images_and_classes_of_their_folder(folder, shards):
    assert splits(shards) == splits(folder)
    assert search(shards).notes[0] == "train/ to train on, val/ to select by, test/ to confirm with"
    assert full(shards).notes[0] == "train/ to train on, val/ to test on; test/ is not used"
    assert [note for note in full(shards).notes if "8 bits" in note] == [
        note for note in full(folder).notes if "8 bits" in note
    ]


def test_shards_may_lie_in_the_folders_of_their_parts(folder, tmp_path):
    for part, name in zip(PARTS, ("train", "validation", "test"), strict=True):
        write_shards(folder / part, tmp_path / name)
    (tmp_path / "classes.txt").write_text("cat\ndog")
    assert splits(tmp_path) == splits(folder)
    assert full(tmp_path).notes[0] == "train/ to train on, validation/ to test on; test/ is not used"


def test_shards_without_parts_are_split_as_class_folders_are(folder, tmp_path):
    alone = folder / "train"
    write_shards(alone, tmp_path)
    (tmp_path / "classnames.txt").write_text("cat\ndog")
    assert all_held(tmp_path)[:3] == all_held(alone)[:3]
    assert [len(split) for split in (search(tmp_path).train, search(tmp_path).confirmation)] == [
        len(split) for split in (search(alone).train, search(alone).confirmation)
    ]


def test_how_images_are_spread_over_shards_of_parts_changes_no_split(folder, shards, tmp_path):
    for part in PARTS:
        write_shards(folder / part, tmp_path, f"{part}-", per_shard=3)
    assert splits(tmp_path)["full"] == splits(shards)["full"]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_tar_files_of_all_kinds_are_read(folder, tmp_path, form):
    """With long names, fractions of seconds, folders, links and hidden files."""
    for part in ("train", "val"):
        with tarfile.open(tmp_path / f"{part}.tar", "w", format=form) as tar:
            for number, name in enumerate(("cat", "dog")):
                below = f"{'long' * 20}/{'more' * 10}/{name}"
                for path in sorted((folder / part / name).iterdir()):
                    for ending, data in ((".png", path.read_bytes()), (".cls", b"%d\n" % number)):
                        stem = path.stem if form == tarfile.USTAR_FORMAT else path.stem + "é" * 120
                        member = tarfile.TarInfo(f"{below}/{stem}{ending}")
                        member.size, member.mtime = len(data), 1.5
                        tar.addfile(member, BytesIO(data))
                for kind, link in ((tarfile.DIRTYPE, ""), (tarfile.SYMTYPE, "0.png"), (tarfile.FIFOTYPE, "")):
                    member = tarfile.TarInfo(f"{below}/other{kind[0]}.png")
                    member.type, member.linkname = kind, link
                    tar.addfile(member)
                hidden = tarfile.TarInfo(f"{below}/._0.cls")
                hidden.size = 4
                tar.addfile(hidden, BytesIO(b"\0\1\2\3"))
    assert splits(tmp_path)["full"] == splits(folder)["full"]
    assert all(f"/{'long' * 20}/{'more' * 10}/" in path for path in full(tmp_path).train.paths)


def test_classes_are_ordered_by_their_numbers(tmp_path):
    write_tar(tmp_path / "0.tar", samples([10, 2, 30] * 4))
    data = full(tmp_path)
    assert data.classes == ("2", "10", "30")
    (tmp_path / "classnames.txt").write_text("\n".join(["", "", "crane", *[""] * 7, "crane", *["-"] * 19, " "]))
    assert full(tmp_path).classes == ("crane", "crane (10)", "30")
    assert held(full(tmp_path).train) == held(data.train)


def test_a_part_for_tests_without_known_classes_is_not_used(tmp_path):
    write_tar(tmp_path / "train.tar", samples([0, 1] * 5))
    write_tar(tmp_path / "test.tar", samples([-1] * 3))
    write_tar(tmp_path / "more.tar", samples([0, 1]))
    data = full(tmp_path)
    assert len(data.train) + len(data.test) == 10
    assert "not used: 1 tar file of no part, more.tar; test (3 images without a class)" in data.notes


def test_class_folders_are_read_as_if_no_tar_file_were_there(folder, tmp_path):
    write_parts(tmp_path)
    before, notes = splits(tmp_path), full(tmp_path).notes
    write_tar(tmp_path / "train.tar", samples([0, 1] * 5))
    write_tar(tmp_path / "train" / "0.tar", samples([0, 1] * 5))
    (tmp_path / "val" / "cat" / "broken.tar").write_bytes(b"no tar file")
    assert splits(tmp_path) == before
    assert [note for note in full(tmp_path).notes if "left out" not in note] == [*notes]


@pytest.mark.slow
def test_workers_and_a_start_in_the_middle_give_the_same_batches(shards):
    assert_workers_change_nothing(lambda size: full(shards, size).train)


def test_the_current_folder_is_read_too(shards, monkeypatch):
    expected = splits(shards)
    monkeypatch.chdir(shards)
    assert splits(".") == expected
    assert full(".").fingerprint == full(shards).fingerprint


def test_another_process_gets_the_same_images(shards):
    data = full(shards)
    assert held(pickle.loads(pickle.dumps(data.test))) == held(data.test)


def test_a_few_images_are_read_alone(tmp_path):
    write_tar(tmp_path / "0.tar", samples([0, 1] * 20))
    found = load_images(str(tmp_path), image_size=SIZE, count=3)
    assert [one.tobytes() for one in found] == [
        one.tobytes() for one in search(tmp_path).selection.pixels_NSSC[:3]
    ]


def test_one_broken_image_in_a_thousand_is_skipped_and_named(tmp_path):
    files = samples([i % 2 for i in range(960)]) | {"image7.png": b"no image"}
    write_tar(tmp_path / "train.tar", files)
    write_tar(tmp_path / "val.tar", samples([0, 1] * 20))
    note = f"skipped: {tmp_path}/train.tar/image7.png: not an image of a known format"
    assert any(note in one for one in search(tmp_path).notes)
    data = full(tmp_path, 2)
    assert len(data.train.squares(range(960)).good_N) == 959
    assert {*data.train.faults} == {f"{tmp_path}/train.tar/image7.png"}


def test_the_fingerprint_follows_the_contents(tmp_path):
    files = samples([0, 1] * 5)
    path = write_tar(tmp_path / "0.tar", files)
    before = full(tmp_path).fingerprint
    os.utime(path, (1, 1))
    assert full(tmp_path).fingerprint == before
    write_tar(path, files | {"image3.png": png(200)})
    assert full(tmp_path).fingerprint != before


def stamps(images):
    return [*images.source.stamps(images.paths)]


def test_sizes_and_changes_of_images_are_known_without_reading_them(tmp_path):
    files = samples([0, 1] * 20)
    write_tar(tmp_path / "train.tar", files)
    write_tar(tmp_path / "val.tar", files)
    data = full(tmp_path)
    sizes = [len(data.train.source.read(path)) for path in data.train.paths]
    assert [size for size, _ in stamps(data.train)] == sizes
    assert len({*sizes}) > 1
    before = stamps(data.train), stamps(data.test)
    os.utime(tmp_path / "val.tar", (1, 1))
    assert stamps(data.train) == before[0]
    assert not {*stamps(data.test)} & {*before[1]}


@pytest.fixture
def two(tmp_path):
    """Tar files of two parts."""
    write_tar(tmp_path / "train.tar", samples([0, 1] * 5))
    write_tar(tmp_path / "val.tar", samples([0, 1]))
    return tmp_path


def cut(at):
    return lambda data: data[:at]


def without_end(data):
    with tarfile.open(fileobj=BytesIO(data)) as tar:
        last = tar.getmembers()[-1]
    return data[: last.offset_data + 512]


def flipped(data):
    """A bit in the name of the third member."""
    return data[:2050] + bytes([data[2050] ^ 1]) + data[2051:]


def below_zero(data):
    """The size of the second member."""
    header = bytearray(data[1024:1536])
    header[124:136] = b"-%010o\0" % 4096
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return data[:1024] + header + data[1536:]


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (cut(0), "empty file"),
        (cut(100), "truncated header"),
        (cut(600), "its end is missing"),
        (cut(1024), "its end is missing"),
        (cut(1300), "its end is missing"),
        (without_end, "its end is missing"),
        (flipped, "bad checksum"),
        (gzip.compress, "invalid header"),
        (below_zero, "a size below zero"),
    ],
)
def test_a_damaged_tar_file_is_named_in_one_line(two, damage, why):
    path = two / "train.tar"
    path.write_bytes(damage(path.read_bytes()))
    text = error(two)
    assert text.startswith("train.tar: a damaged tar file, or none: ")
    assert text.endswith("; get or write it again, not compressed")
    assert why in text


def test_a_tar_file_that_was_cut_off_since_spoils_its_images_alone(two):
    data = full(two)
    os.truncate(two / "val.tar", 520)
    assert not len(data.test.squares(range(2)).good_N)
    assert {*data.test.faults.values()} == {"its tar file has become shorter"}


EXPECTED = "expected one image and the number of its class for each sample, such as 7.jpg and 7.cls"


@pytest.mark.parametrize(
    ("name", "files", "said"),
    [
        (
            "val.tar",
            {"a.png": png(), "a.txt": b"a cat"},
            f"val.tar: 1 of 1 images have no class, the first: a.png; {EXPECTED}",
        ),
        (
            "val.tar",
            {"a.png": png(), "a.cls": b"cat"},
            f"val.tar: a.cls holds b'cat', which is no number; {EXPECTED}",
        ),
        (
            "val.tar",
            {"a.png": png(), "a.jpg": png(), "a.cls": b"0"},
            f"val.tar: two images in one sample, a.png and a.jpg; {EXPECTED}",
        ),
        (
            "val.tar",
            samples([0, -1, 1]),
            "1 of 3 images of val have no class, the first: val.tar/image1.png; "
            "give each a number from 0, or leave them out",
        ),
        (
            "val.tar",
            samples([0, 2]),
            "classes that cannot be used: train/2 is missing; val/1 is missing; "
            "add images, or leave these classes out of all parts",
        ),
        ("train.tar", samples([0] * 5), "only one class, '0', to train on; at least two classes are needed"),
        ("validation.tar", samples([0, 1]), "val and validation both look like the val images; rename one"),
        ("train-val.tar", samples([0, 1]), "train-val.tar names several parts, train and val; rename it"),
        (
            "classnames.txt",
            None,
            "classnames.txt: has 1 line, and a class has the number 1; write a line for each class, from number 0",
        ),
        ("train.tar", None, "has val but no train; rename what is to train on"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(two, name, files, said):
    if files is not None:
        write_tar(two / name, files)
    elif name == "train.tar":
        (two / name).unlink()
    else:
        (two / name).write_text("cat\n")
    assert error(two).startswith(said)


def test_shards_without_any_image_are_refused(tmp_path):
    write_tar(tmp_path / "0.tar", {"a.txt": b"text"})
    assert error(tmp_path) == "no images to train on; at least two classes are needed"
