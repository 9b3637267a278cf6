"""What lies in a folder of images besides images: links, tools' folders, results, copies."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from conftest import write_images
from mvit2_search.cli import cli
from mvit2_search.task.data.load import load_dataset, load_images


@pytest.fixture
def folder(tmp_path):
    return write_images(tmp_path / "images", {"a": 10, "b": 10})


def load(folder, **options):
    return load_dataset(str(folder), image_size=8, max_train=10_000, **options)


def used(data):
    return sum(map(len, (data.train, data.selection, data.confirmation)))


def noted(data, *words):
    return any(all(word in note for word in words) for note in data.notes)


@pytest.mark.parametrize(
    "where",
    [
        *("a/.ipynb_checkpoints", "a/.thumbnails", "a/@eaDir/1.jpg", "a/deep/er/.ipynb_checkpoints"),
        *("a/__MACOSX", "__MACOSX/a", "a/Thumbs", "@eaDir", ".Trash/a", "a/$RECYCLE.BIN"),
        *("thumbnails", "@__thumb", "a/@__thumb", "_thumbs", "a/_thumbs", "a/thumb", "RECYCLER", "a/RECYCLER"),
        *("a/thumbnail", "a/_thumbnail", "~snapshot", "@tmp", "a/Network Trash Folder", "a/[Originals]"),
    ],
)
def test_what_tools_keep_is_not_used(folder, where):
    before = load(folder)
    shutil.copytree(folder / "b", folder / where)
    data = load(folder)
    assert (data.classes, used(data), data.fingerprint) == (("a", "b"), 20, before.fingerprint)
    assert noted(data, "1 folder of tools") != where.startswith(".")  # nobody means a hidden one


def test_apple_doubles_are_not_used(folder):
    (folder / "a" / "._0001.png").write_bytes((folder / "a" / "0001.png").read_bytes())
    assert used(load(folder)) == 20


def test_a_class_may_be_called_thumbs(tmp_path):
    assert load(write_images(tmp_path / "i", {"fingers": 5, "thumbs": 5})).classes == ("fingers", "thumbs")


@pytest.mark.slow
def test_copies_across_the_parts_are_counted(tmp_path, run_on):
    folder = tmp_path / "images"
    for part in ("train", "val", "test"):
        write_images(folder / part, {"a": 10, "b": 10})
    for i, path in enumerate(sorted((folder / "train").rglob("*.png"))):
        path.write_bytes(path.read_bytes() + b"t" * (i >= 4))  # four stay copies of both other parts
    for i, path in enumerate(sorted((folder / "test").rglob("*.png"))):
        path.write_bytes(path.read_bytes() + b"e" * (i >= 7))  # seven stay copies of val/
    result = run_on(folder)
    assert result.exit_code == 0, result.output
    assert "copies" in result.output
    assert "4 of 20 selection images" in result.output
    assert "7 of 20 confirmation images" in result.output


def test_one_image_in_two_classes_is_noted(folder):
    shutil.copy(folder / "a" / "0003.png", folder / "b" / "other.png")
    assert noted(load(folder), "1 image", "two classes", "a/0003.png", "b/other.png")


def test_without_copies_nothing_is_said(folder):
    assert load(folder).notes == ()


@pytest.mark.slow
def test_linked_folders_are_followed(tmp_path, run_on):
    pool = write_images(tmp_path / "pool", {"x": 12, "y": 12, "z": 6})
    folder = write_images(tmp_path / "images", {"a": 3, "b": 3})
    (folder / "a" / "more").symlink_to(pool / "x")
    (folder / "b" / "more").symlink_to(Path("../../pool/y"))
    (folder / "c").symlink_to(pool / "z")
    result = run_on(folder)
    assert result.exit_code == 0, result.output
    assert "22 training, 7 selection and 7 confirmation images of 3 classes: a, b, c" in result.output


def test_links_in_circles_end(folder):
    (folder / "a" / "self").symlink_to(folder / "a")
    (folder / "a" / "up").symlink_to("..")
    (folder / "a" / "all").symlink_to("/")
    (folder / "b" / "deep").mkdir()
    (folder / "b" / "a twin").symlink_to("deep")
    shutil.move(folder / "b" / "0000.png", folder / "b" / "deep" / "0000.png")
    data = load(folder)
    assert used(data) == 20
    assert noted(data, "4 links", "read already")


def test_a_link_to_all_classes_of_a_part_is_not_followed(tmp_path):
    for part in ("train", "val"):
        write_images(tmp_path / part, {"a": 10, "b": 10})
    (tmp_path / "train" / "a" / "all").symlink_to("..")
    data = load(tmp_path)
    assert used(data) == 40
    assert noted(data, "1 link", "read already", "train/a/all")


def test_links_among_many_folders_are_read_once(folder):
    for i in range(12):
        (folder / "a" / f"d{i}").mkdir()
        for j in range(12):
            (folder / "a" / f"d{i}" / f"l{j}").symlink_to(f"../d{j}")
    assert used(load(folder)) == 20


@pytest.mark.slow
def test_links_that_lead_nowhere_are_counted_and_named(folder, run_on):
    for name in ("gone.png", "folder"):
        (folder / "a" / name).symlink_to(folder / "nowhere" / name)
    (folder / "b" / "round").symlink_to("round")
    (folder / "b" / "linked.png").symlink_to(folder / "b" / "0001.png")
    result = run_on(folder)
    assert result.exit_code == 0, result.output
    assert "3 broken links" in result.output
    assert "a/gone.png" in result.output
    # the link to an image is one of the class
    assert "12 training, 4 selection and 4 confirmation images" not in result.output
    assert used(load(folder)) == 21


@pytest.mark.parametrize("classes", [{"a": 10, "b": 0}, {"a": 0, "b": 0}, {"a": 0}])
@pytest.mark.parametrize("part", [".", "train"])
def test_links_that_lead_nowhere_are_named_where_no_image_is_left(tmp_path, run_on, classes, part):
    folder = write_images(tmp_path / "images" / part, classes)
    for name in [name for name, count in classes.items() if not count]:
        for i in range(8):
            (folder / name / f"{i}.png").symlink_to(tmp_path / "pool" / f"{i}.png")
    result = run_on(tmp_path / "images")
    assert result.exit_code == 4
    assert "broken link" in result.stderr
    assert "/0.png" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["thumbs", "Thumb"])
def test_thumbnails_beside_the_classes_of_one_part_are_no_class(tmp_path, name):
    for part in ("train", "val"):
        write_images(tmp_path / part, {"a": 10, "b": 10})
    write_images(tmp_path / "train", {name: 20})
    data = load(tmp_path)
    assert (data.classes, used(data)) == (("a", "b"), 40)
    assert noted(data, "1 folder of tools", f"train/{name}")


def test_a_class_that_leads_nowhere_is_named(folder):
    (folder / "c").symlink_to("gone")
    assert noted(load(folder), "1 broken link", "c")


@pytest.mark.slow
@pytest.mark.parametrize("results", ["results", "./results", "a/results", "b/deep/results"])
def test_results_among_the_images_are_no_class(folder, run_on, monkeypatch, results):
    monkeypatch.chdir(folder)
    for _ in range(2):  # the second time the results are there
        result = run_on(".", "--results", results)
        assert result.exit_code == 0, result.output
        assert "of 2 classes: a, b" in result.output or "is finished" in result.output
    other = run_on(".", "--results", "elsewhere", "--trials", "2")  # the first results are another's now
    assert other.exit_code == 0, other.output
    assert run_on("../images", "--results", str(folder / results)).exit_code == 0


@pytest.mark.parametrize("where", ["a/kept", "kept"])
def test_results_that_are_left_out_are_counted(folder, where):
    write_images(folder / where, {"plots": 5})
    (folder / where / "study.db").touch()
    data = load(folder)
    assert (data.classes, used(data)) == (("a", "b"), 20)
    assert noted(data, f"1 folder of results, left out: {where}")


@pytest.mark.slow
def test_a_class_that_is_to_hold_the_results_is_left_out_and_told(folder, run_on):
    result = run_on(folder, "--results", str(folder / "a"))
    assert result.exit_code == 4
    assert "only one class, 'b'" in result.stderr
    assert "1 folder of results, left out: a" in result.stderr
    write_images(folder, {"c": 10})
    assert "1 folder of results, left out: a" in run_on(folder, "--results", str(folder / "a")).output


def test_a_class_that_is_a_link_to_what_lies_above_is_named(folder, run_on):
    (folder / "c").symlink_to("..")
    result = run_on(folder)
    assert result.exit_code == 4
    assert "1 link to folders that are read already or lie above, not followed: c" in result.output


@pytest.mark.slow
def test_results_may_be_the_folder_of_images_itself(folder, run_on):
    for trials in ("1", "2"):
        result = run_on(folder, "--results", str(folder), "--trials", trials)
        assert result.exit_code == 0, result.output
        assert "of 2 classes: a, b" in result.output


@pytest.mark.slow
def test_results_through_a_link_are_left_out(tmp_path, folder, run_on):
    (folder / "results").mkdir()
    (tmp_path / "out").symlink_to(folder / "results")
    write_images(folder / "results", {"plots": 5})  # beside where a study is going to be
    assert run_on(folder, "--results", "out").exit_code == 0
    assert load(folder, results=[tmp_path / "out"]).classes == ("a", "b")


def test_an_image_to_verify_with_is_not_from_the_results(tmp_path, folder):
    write_images(folder / "results", {"plots": 5})
    images = load_images(str(folder), image_size=8, count=3, results=[folder / "results"])
    np.testing.assert_array_equal(images, load(folder, results=[folder / "results"]).selection.pixels_NSSC[:3])


@pytest.mark.slow
def test_the_programs_own_folders_among_the_images_are_no_classes(folder, run_on, monkeypatch):
    """All that commands write into a results folder, where that is the folder of images too."""
    monkeypatch.chdir(folder)
    assert run_on(".", "--results", ".").exit_code == 0
    exported = CliRunner().invoke(cli, ["export", "mobilevitv2-0.5", "--results", ".", "--format", "yaml"])
    assert exported.exit_code == 0, exported.output
    for path in ("bench/host/host.json", "other-devices/0123/one/study.db", "refused/driver.lock"):
        (folder / path).parent.mkdir(parents=True)
        (folder / path).touch()
    for results in (".", "elsewhere"):
        again = run_on(".", "--results", results, "--trials", "2")
        assert again.exit_code == 0, again.output
        assert "of 2 classes: a, b" in again.output


def test_exports_beside_the_classes_are_no_class(folder, run_on, monkeypatch):
    """Before there is any study."""
    monkeypatch.chdir(folder)
    assert CliRunner().invoke(cli, ["export", "mobilevitv2-0.5", "--results", "."]).exit_code == 0
    assert len(load_images(".", image_size=8, count=3)) == 3


def test_a_class_called_bench_without_a_readable_image_is_named(folder, run_on):
    (folder / "bench").mkdir()
    (folder / "bench" / "1.heic").touch()
    result = run_on(folder, "--results", str(folder))
    assert result.exit_code == 4
    assert "bench has no images" in result.stderr


@pytest.mark.slow
def test_a_class_may_be_called_like_a_folder_of_the_program(folder, run_on):
    write_images(folder, {"bench": 10})
    for trials in ("1", "2"):
        result = run_on(folder, "--results", str(folder), "--trials", trials)
        assert result.exit_code == 0, result.output
        assert "of 3 classes: a, b, bench" in result.output


@pytest.mark.slow
@pytest.mark.parametrize(
    "held", ["exports/mobilevitv2-0.5/architecture.yaml", "bench/host/host.json", "one/driver.lock"]
)
def test_results_of_another_command_are_no_class(folder, run_on, held):
    (folder / "results" / held).parent.mkdir(parents=True)
    (folder / "results" / held).touch()
    result = run_on(folder, "--results", "elsewhere")
    assert result.exit_code == 0, result.output
    assert "of 2 classes: a, b" in result.output
    assert len(load_images(str(folder), image_size=8, count=3)) == 3
