"""A data set that Hugging Face's `datasets` saved gives what the folder of its images gives."""

import os
import pickle
import sys
from pathlib import Path

import pytest

from conftest import write_images
from mvit2_search.errors import BackendUnavailable
from packed import assert_workers_change_nothing, table
from test_shards import PARTS, SIZE, all_held, error, full, held, png, search, splits, stamps, write_parts
from watched import run_watched

datasets = pytest.importorskip("datasets")
pyarrow = pytest.importorskip("pyarrow")

NAMES = dict(zip(PARTS, ("train", "validation", "test"), strict=True))


@pytest.fixture(scope="module", autouse=True)
def no_progress():
    datasets.disable_progress_bars()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_parts(tmp_path_factory.mktemp("folder"))


@pytest.fixture(scope="module")
def saved(folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("saved")
    datasets.DatasetDict({NAMES[part]: table(folder / part) for part in PARTS}).save_to_disk(root)
    return root


def rows(labels, *, column="label", image="image", kind=None, files=()):
    """Of so many small images, some of which are these files."""
    contents = {i: png(i % 256) for i in range(len(labels))} | dict(files)
    data = {image: [{"bytes": one, "path": None} for one in contents.values()], column: labels}
    features = datasets.Features({image: datasets.Image(), column: kind or datasets.Value("int64")})
    return datasets.Dataset.from_dict(data, features=features)


def test_a_saved_data_set_gives_the_images_and_classes_of_its_folder(folder, saved, monkeypatch):
    expected = splits(folder)
    assert splits(saved) == expected
    assert search(saved).notes[0] == "train/ to train on, validation/ to select by, test/ to confirm with"
    assert [note for note in full(saved).notes if "8 bits" in note] == [
        note for note in full(folder).notes if "8 bits" in note
    ]
    monkeypatch.chdir(saved)
    assert splits(".") == expected


def test_one_without_parts_is_split_as_class_folders_are(folder, tmp_path, monkeypatch):
    table(folder / "train").save_to_disk(tmp_path, num_shards=3)
    assert all_held(tmp_path)[:3] == all_held(folder / "train")[:3]
    expected = full(tmp_path).fingerprint
    monkeypatch.chdir(tmp_path)
    assert full(".").fingerprint == expected


def test_images_that_are_files_of_their_own_are_read_from_there(tmp_path):
    images = write_images(tmp_path / "images", {"cat": 8, "dog": 6}, size=SIZE)
    made, root = table(images, by_path=True), tmp_path / "saved"
    made.save_to_disk(root)  # copies the files
    with pyarrow.ipc.new_stream(root / "data-00000-of-00001.arrow", made.data.schema) as file:
        file.write_table(made.data.table)
    assert all_held(root)[:3] == all_held(images)[:3]
    files = {(path.stat().st_size, path.stat().st_mtime_ns) for path in images.rglob("*.png")}
    assert {*stamps(full(root).train)} <= files
    (images / "cat" / "0003.png").unlink()
    assert error(root) == f"{images}/cat/0003.png: No such file or directory"


@pytest.mark.parametrize("labels", [["cat", "dog", "ant"] * 4, [10, 2, 30] * 4])
def test_classes_may_be_texts_or_numbers(tmp_path, labels):
    kind = datasets.Value("string" if isinstance(labels[0], str) else "int16")
    rows(labels, kind=kind, column="class", image="photo").save_to_disk(tmp_path)
    assert full(tmp_path).classes == tuple(map(str, sorted({*labels})))


def test_rows_that_were_chosen_before_are_those_that_were_saved(tmp_path):
    rows([0, 1] * 10).select([*range(15, 1, -1)]).with_format("pandas").save_to_disk(tmp_path)
    assert {pixels[0] for _, pixels in all_held(tmp_path)[2]} == {*range(2, 16)}


def test_a_part_for_tests_without_known_classes_is_not_used(tmp_path):
    parts = {"train": rows([0, 1] * 5), "test": rows([-1] * 3), "extra": rows([0, 1])}
    datasets.DatasetDict(parts).save_to_disk(tmp_path)
    data = full(tmp_path)
    assert len(data.train) + len(data.test) == 10
    assert "not used: extra (2 rows); test (3 images without a class)" in data.notes


@pytest.mark.slow
def test_workers_give_the_same_batches(saved):
    assert_workers_change_nothing(lambda size: full(saved, size).train)


def test_another_process_gets_the_same_images(saved):
    data = full(saved)
    packed = pickle.dumps(data.test)
    assert len(packed) < 10_000
    assert held(pickle.loads(packed)) == held(data.test)


def test_one_broken_image_in_a_thousand_is_skipped_and_named(tmp_path):
    rows([0, 1] * 500, files={7: b"no image"}).save_to_disk(tmp_path)
    assert any(f"skipped: {tmp_path}/00000007: not an image" in note for note in search(tmp_path).notes)


def test_the_fingerprint_follows_the_contents(tmp_path):
    prints = []
    for name, files in (("a", {}), ("b", {}), ("c", {4: png(99)})):
        rows([0, 1] * 5, files=files).save_to_disk(tmp_path / name)
        prints.append(full(tmp_path / name).fingerprint)
    assert prints[0] == prints[1] != prints[2]


def test_sizes_and_changes_of_images_are_known_without_reading_them(two):
    data = full(two)
    before = stamps(data.test), stamps(data.train)
    assert [size for size, _ in before[0]] == [len(data.test.source.read(path)) for path in data.test.paths]
    os.utime(two / "test" / "data-00000-of-00001.arrow", (1, 1))
    data = full(two)
    assert not {*stamps(data.test)} & {*before[0]}
    assert stamps(data.train) == before[1]


@pytest.fixture
def two(tmp_path):
    """Two parts."""
    datasets.DatasetDict({"train": rows([0, 1] * 5), "test": rows([0, 1])}).save_to_disk(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("test/data-00000-of-00001.arrow", lambda path: os.truncate(path, path.stat().st_size // 2)),
        ("test/data-00000-of-00001.arrow", Path.unlink),
        ("test/state.json", lambda path: path.write_text("{")),
        ("test/dataset_info.json", Path.unlink),
        ("dataset_dict.json", lambda path: path.write_text("{}")),
    ],
)
def test_a_damaged_data_set_is_named_in_one_line(two, name, damage):
    damage(two / name)
    text = error(two)
    assert text.startswith("a damaged data set: ")
    assert text.endswith("; save it again with save_to_disk")


CHANGE = "; change them by cast_column, rename_column or remove_columns and save it again"


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (
            {"train": rows([0, 1] * 5, column="kind")},
            f"has the columns image, kind, and one column of classes, 'label', is expected{CHANGE}",
        ),
        (
            {"train": rows([0, 1] * 5).remove_columns("image")},
            f"has the columns label, and one column of images is expected{CHANGE}",
        ),
        (
            {"train": rows([0, 1] * 5), "test": rows(["0", "1"], kind=datasets.Value("string"))},
            f"has the columns image, label, and 'label' with the same classes in all parts is expected{CHANGE}",
        ),
        ({"test": rows([0, 1] * 5)}, "has test but no train; rename what is to train on"),
        ({"all": rows([0]), "few": rows([1])}, "has all, few but no train; rename what is to train on"),
        ({"val": rows([0]), "dev": rows([1])}, "val and dev both look like the val images; rename one"),
        ({"train": rows([3] * 9)}, "only one class, '3', to train on; at least two classes are needed"),
        (
            {"train": rows([0, None, 1] * 5)},
            "5 of 15 images of train have no class, the first: train/00000001; "
            "give each a number from 0, or leave them out",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(tmp_path, parts, said):
    datasets.DatasetDict(parts).save_to_disk(tmp_path)
    assert error(tmp_path) == said


@pytest.mark.slow
def test_reading_asks_for_no_socket_and_writes_nothing(saved, tmp_path):
    for name in ("home", "temporary", "work"):
        (tmp_path / name).mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "HF_", "TORCH"))}
    env = kept | {
        "HOME": str(tmp_path / "home"),
        "TMPDIR": str(tmp_path / "temporary"),
        "PYTHONPATH": str(Path(__file__).parent.parent),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }
    code = (
        f"from mvit2_search.task.data.full import load_full\n"
        f"print(len(load_full({str(saved)!r}, size=8).train.squares(range(4)).good_N))"
    )
    command = [sys.executable, "-c", code]
    try:
        done = run_watched(command, env=env, cwd=tmp_path / "work")
    except OSError as err:
        pytest.skip(f"cannot be watched here: {err}")
    assert (done.stdout, done.stderr) == ("4\n", "")
    assert done.sockets == []
    assert [path for path in done.written if path.exists() and not path.is_char_device()] == []


@pytest.mark.parametrize("shown", [True, False])
def test_progress_bars_are_not_shown_and_left_as_they_were(saved, monkeypatch, shown):
    disabled, load = [], datasets.load_from_disk

    def watched(*args, **choices):
        disabled.append(datasets.are_progress_bars_disabled())
        return load(*args, **choices)

    monkeypatch.setattr(datasets, "load_from_disk", watched)
    (datasets.enable_progress_bars if shown else datasets.disable_progress_bars)()
    full(saved)
    disabled.append(datasets.are_progress_bars_disabled())
    datasets.disable_progress_bars()
    assert disabled == [True, not shown]


def test_without_the_library_it_is_named(saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(BackendUnavailable) as caught:
        full(saved)
    assert str(caught.value) == (
        f"{saved}: saved by Hugging Face's datasets, which is missing: pip install 'mvit2-search[datasets]'"
    )
