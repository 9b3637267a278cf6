"""The accuracy of a trained network or an exported file: its interval, its images, and what is refused."""

import json
import re
from dataclasses import replace
from math import comb
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from conftest import write_images
from exports import FEW, ONE_FIRST, exported, network
from mvit2_search.arch import ArchConfig
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.cli import cli
from mvit2_search.errors import MeasurementError, SpecError, StorageError, TrainingError
from mvit2_search.models import build_model, for_inference
from mvit2_search.records import Artifact, EpochRow, Recipe, TrainingInputs, TrainingState
from mvit2_search.records.codec import to_json
from mvit2_search.task.data.dataset import to_input
from mvit2_search.task.data.full import load_full
from mvit2_search.train import evaluation
from mvit2_search.train.checkpoint import AVERAGED, BEST, LAST, PREVIOUS, write_checkpoint
from mvit2_search.train.evaluation import Share, evaluate_network

ARCH = ArchConfig.mobilevitv2(0.25)
RECIPE = Recipe(image_size=32)
RGB, BGR = "RGB, values in [0, 1]", "BGR, values in [0, 1]"


def score(what, data, results):
    return evaluate_network(str(what), str(data), device="cpu", results=results)


@pytest.mark.parametrize(
    ("right", "of", "low", "high"),
    [  # Newcombe, Stat. Med. 17, 1998, table I, method 3; the first is a common example
        (8, 10, 49.0, 94.3),
        (81, 263, 25.53, 36.62),
        (15, 148, 6.24, 16.05),
        (0, 20, 0.0, 16.11),
        (1, 29, 0.61, 17.18),
        (20, 20, 83.89, 100.0),
    ],
)
def test_intervals_are_the_published_ones(right, of, low, high):
    share = Share(right=right, of=of)
    assert share.pct == pytest.approx(100 * right / of)
    assert share.interval_pct == pytest.approx((low, high), abs=0.05 if of == 10 else 0.005)


@pytest.mark.parametrize("of", [20, 100])
def test_nineteen_of_twenty_intervals_hold_the_truth(of):
    intervals = [Share(right=right, of=of).interval_pct for right in range(of + 1)]
    covered = []
    for truth in np.linspace(0.02, 0.98, 97):
        chances = (comb(of, k) * truth**k * (1 - truth) ** (of - k) for k in range(of + 1))
        held = (low <= 100 * truth <= high for low, high in intervals)
        covered.append(sum(chance for chance, holds in zip(chances, held, strict=True) if holds))
    assert 0.945 < np.mean(covered) < 0.96
    assert min(covered) > 0.83


@pytest.fixture
def file(monkeypatch, tmp_path):
    """Makes a file of any size whose network is a function, called with the images that it is given."""

    def make(run, *, size=32, classes=2, convention=RGB, takes=None, gives=None):
        artifact = Artifact(
            path=tmp_path / "a.onnx",
            sha256="",
            format="onnx",
            precision="float32",
            input_name="image",
            input_shape=takes or (1, 3, size, size),
            output_shape=gives or (1, classes),
            convention=convention,
        )
        format = SimpleNamespace(run=lambda _, inputs: np.asarray(run(inputs), np.float32))
        monkeypatch.setattr(evaluation, "open_artifact", lambda path: artifact)
        monkeypatch.setattr(evaluation, "FORMATS", {"onnx": SimpleNamespace(load=lambda: format)})
        return artifact.path

    return make


@pytest.fixture
def photographs(tmp_path):
    """To train on, 12 x 12 pixels; to test on, one of 400 x 300 and one of 300 x 400."""
    write_images(tmp_path / "photographs" / "train", {"tall": 3, "wide": 3})
    rng = np.random.default_rng(0)
    for name, size in (("tall", (300, 400)), ("wide", (400, 300))):
        small = Image.fromarray(rng.integers(0, 256, (25, 25, 3), dtype=np.uint8))
        (tmp_path / "photographs" / "val" / name).mkdir(parents=True)
        small.resize(size, Image.Resampling.BICUBIC).save(tmp_path / "photographs" / "val" / name / "1.png")
    return tmp_path / "photographs"


@pytest.mark.parametrize(
    ("size", "scaled", "box"),
    [
        (256, (384, 288), (64, 16, 320, 272)),
        (384, (512, 384), (64, 0, 448, 384)),
        (64, (96, 72), (16, 4, 80, 68)),
    ],
)
def test_images_are_scaled_and_cut_as_published(tmp_path, file, photographs, size, scaled, box):
    seen = []
    found = score(file(lambda x: [seen.append(one) or [0, 1] for one in x], size=size), photographs, tmp_path)
    assert (found.size, found.source_size) == (size, scaled[1])
    assert len(seen) == 2
    for name, turn in (("wide", 1), ("tall", -1)):
        with Image.open(photographs / "val" / name / "1.png") as image:
            whole = image.resize(scaled[::turn], Image.Resampling.BICUBIC)
        left, top, right, bottom = box if turn == 1 else (box[1], box[0], box[3], box[2])
        expected_CSS = np.asarray(whole.crop((left, top, right, bottom))).transpose(2, 0, 1)
        # two levels: Pillow rounds between its two passes, and its results for a part and the whole differ
        assert min(np.abs(255 * one_CSS - expected_CSS).max() for one_CSS in seen) < 2.01


def test_a_file_that_takes_bgr_gets_it(tmp_path, file, photographs):
    seen = {}
    for name, convention in (("rgb", RGB), ("bgr", BGR)):
        path = file(lambda x, name=name: seen.update({name: x}) or np.eye(2), convention=convention)
        score(path, photographs, tmp_path)
    assert (seen["rgb"][:, ::-1] == seen["bgr"]).all()
    assert not (seen["rgb"] == seen["bgr"]).all()


def ten_classes(folder):
    write_images(folder / "train", {str(i): 2 for i in range(10)})
    write_images(folder / "val", {str(i): 1 + i for i in range(10)})  # 55 images
    return folder


def test_shares_are_counted_by_hand(tmp_path, file):
    """Scores fall with the distance from class 3, and lower classes win a tie."""
    found = score(
        file(lambda x: [[-abs(i - 3) - 0.1 * (i > 3) for i in range(10)]] * len(x), classes=10),
        ten_classes(tmp_path / "images"),
        tmp_path,
    )
    assert found.top1 == Share(right=4, of=55)
    assert found.top5 == Share(right=2 + 3 + 4 + 5 + 6, of=55)  # classes 1 to 5
    assert found.classes == {str(i): Share(right=4 if i == 3 else 0, of=1 + i) for i in range(10)}


def test_equal_outputs_are_no_right_answer_for_all(tmp_path, file):
    found = score(file(lambda x: np.zeros((len(x), 10)), classes=10), ten_classes(tmp_path / "images"), tmp_path)
    assert found.top1 == Share(right=1, of=55)
    assert found.top5 == Share(right=1 + 2 + 3 + 4 + 5, of=55)


def test_of_five_classes_no_top_5_is_shown(tmp_path, file):
    write_images(tmp_path / "images", {str(i): 3 for i in range(5)})
    found = score(file(lambda x: np.zeros((len(x), 5)), classes=5), tmp_path / "images", tmp_path)
    assert found.top5 is None


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"classes": 3}, SpecError, "knows 3 classes, and .* has 2; give images of the same classes"),
        ({"takes": (1, 3, 32, 48)}, SpecError, "expected square images and classes"),
        ({"takes": (1, 1, 32, 32)}, SpecError, "expected square images and classes"),
        ({"gives": (1, 2, 8, 8)}, SpecError, "expected square images and classes"),
    ],
)
def test_files_of_other_networks_are_refused(tmp_path, file, images, given, error, message):
    with pytest.raises(error, match=message):
        score(file(lambda x: np.zeros((len(x), 2)), **given), images, tmp_path)


def test_outputs_that_are_no_numbers_are_refused(tmp_path, file, images):
    with pytest.raises(MeasurementError, match="not finite"):
        score(file(lambda x: np.full((len(x), 2), np.nan)), images, tmp_path)


def folder_of(tmp_path, answers, *, classes=("blue", "red"), recipe=RECIPE):
    """The folder of a training with checkpoints that name one class whatever they see."""
    row = EpochRow(epoch=1, learning_rate=0.1, loss=1.0, score=50.0, seconds=1.0)
    inputs = TrainingInputs(arch=ARCH, recipe=recipe, seed=0, data="x", classes=classes)
    for name, answer in answers.items():
        torch.manual_seed(0)
        model = build_model(ARCH, ClassifierHead(len(classes)))
        with torch.no_grad():
            model.classifier.linear.bias[answer] += 1e3
        path = tmp_path / "trained" / name
        write_checkpoint(path, {AVERAGED: model.state_dict()}, to_json(TrainingState(inputs=inputs, rows=(row,))))
    return tmp_path / "trained"


def test_the_best_checkpoint_of_a_training_is_scored_or_the_one_that_is_named(tmp_path):
    write_images(tmp_path / "images" / "train", {"blue": 3, "red": 3})
    write_images(tmp_path / "images" / "val", {"blue": 1, "red": 3})
    trained = folder_of(tmp_path, {BEST: 0, LAST: 1})
    assert score(trained, tmp_path / "images", tmp_path).top1 == Share(right=1, of=4)
    assert score(trained / BEST, tmp_path / "images", tmp_path).top1 == Share(right=1, of=4)
    last = score(trained / LAST, tmp_path / "images", tmp_path)
    assert last.top1 == Share(right=3, of=4)
    assert last.classes == {"blue": Share(right=0, of=1), "red": Share(right=3, of=3)}
    assert (last.size, last.source_size) == (32, 32)


def test_before_the_first_epoch_ends_the_last_checkpoint_is_scored(tmp_path, images):
    assert score(folder_of(tmp_path, {LAST: 1}), images, tmp_path).classes["red"].pct == 100


def test_a_checkpoint_is_tested_as_its_recipe_says(tmp_path, images):
    trained = folder_of(tmp_path, {BEST: 0}, recipe=replace(RECIPE, test_crop=0.8))
    found = score(trained, images, tmp_path)
    assert (found.size, found.source_size) == (32, 40)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("blue", "green"), "one that differs: green"),
        (("red", "blue"), "one that differs: their order"),
        (("blue", "green", "red"), "knows 3 classes, and .* has 2; one that differs: green"),
    ],
)
def test_a_training_on_other_classes_is_refused(tmp_path, images, classes, message):
    with pytest.raises(SpecError, match=message):
        score(folder_of(tmp_path, {BEST: 0}, classes=classes), images, tmp_path)


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path):
    path.write_bytes(path.read_bytes()[:100])


def remove(path):
    path.unlink()


@pytest.mark.parametrize("damage", [flip_a_bit, truncate, remove])
@pytest.mark.parametrize("name", ["averaged.safetensors", "state.json", "SHA256SUMS"])
def test_a_damaged_checkpoint_is_named(tmp_path, images, name, damage):
    trained = folder_of(tmp_path, {BEST: 0})
    damage(trained / BEST / name)
    with pytest.raises(StorageError, match=BEST):
        score(trained, images, tmp_path)


def test_a_training_whose_checkpoints_are_all_damaged_is_no_unknown_thing(tmp_path, images):
    trained = folder_of(tmp_path, {PREVIOUS: 0, LAST: 0})
    for name in (PREVIOUS, LAST):
        truncate(trained / name / "averaged.safetensors")
    with pytest.raises(StorageError, match=f"{LAST}.*{PREVIOUS}"):
        score(trained, images, tmp_path)


def test_weights_that_are_no_numbers_are_refused(tmp_path, images):
    trained = folder_of(tmp_path, {BEST: 0})
    state = json.loads((trained / BEST / "state.json").read_text())
    weights = {
        name: torch.full_like(one, torch.nan) if one.is_floating_point() else one
        for name, one in build_model(ARCH, ClassifierHead(2)).state_dict().items()
    }
    write_checkpoint(trained / BEST, {AVERAGED: weights}, state)
    with pytest.raises(TrainingError, match="not finite"):
        score(trained, images, tmp_path)


@pytest.mark.parametrize(
    ("what", "code"),
    [("nothing", 2), ("nothing.onnx", 2), ("images", 2), ("damaged.onnx", 4), ("trained", 4), ("other", 2)],
)
def test_what_cannot_be_scored_is_one_line_with_its_exit_code(tmp_path, images, monkeypatch, what, code):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "damaged.onnx").write_bytes(b"not a network")
    folder_of(tmp_path, {BEST: 0}, classes=("x", "y")).rename("other")
    truncate(folder_of(tmp_path, {BEST: 0}) / BEST / "averaged.safetensors")
    done = CliRunner().invoke(cli, ["evaluate", what, "--data", "images"])
    assert done.exit_code == code
    assert re.fullmatch(r"error: .+\n", done.output), done.output
    assert what in done.output


def test_json_says_the_same(tmp_path, images, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["evaluate", str(folder_of(tmp_path, {BEST: 1})), "--data", "images"]
    found = json.loads(CliRunner().invoke(cli, [*command, "--json"]).stdout)
    half, all_ = Share(right=4, of=8).interval_pct, Share(right=4, of=4).interval_pct
    assert found["top1"] == {"pct": 50.0, "low_pct": half[0], "high_pct": half[1], "right": 4, "images": 8}
    assert found["top5"] is None
    assert found["classes"]["red"]["low_pct"] == all_[0]
    assert (found["image_size"], found["source_size"], found["data"]) == (32, 32, "images")
    lines = CliRunner().invoke(cli, command).stdout.splitlines()
    assert lines[1:] == [
        "top-1    50.00 %  [21.52, 78.48]  of 8",
        "  blue    0.00 %  [0.00, 48.99]  of 4",
        "  red   100.00 %  [51.01, 100.00]  of 4",
    ]


def test_names_of_classes_cannot_act_on_a_terminal_or_hide_the_total(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ("\x1b[31mred", "top-1")
    write_images(tmp_path / "images", dict.fromkeys(names, 5))
    command = ["evaluate", str(folder_of(tmp_path, {BEST: 1}, classes=names)), "--data", "images"]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.output
    assert "\x1b" not in done.output
    lines = done.stdout.splitlines()[1:]
    assert [line.split("  ")[0] for line in lines] == ["top-1", "", ""]
    assert len({line.index(" %") for line in lines}) == 1
    assert "\x1b" not in CliRunner().invoke(cli, [*command, "--json"]).stdout


def test_images_that_are_skipped_are_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "images" / "train", {"blue": 3, "red": 3})
    write_images(tmp_path / "images" / "val", {"blue": 3, "red": 3})
    (tmp_path / "images" / "val" / "red" / "readme.txt").write_text("red")
    done = CliRunner().invoke(cli, ["evaluate", str(folder_of(tmp_path, {BEST: 1})), "--data", "images"])
    assert done.stderr.splitlines() == [
        "note: train/ to train on, val/ to test on",
        "note: 1 non-image file left out",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("arch", [FEW, ONE_FIRST])
def test_an_exported_file_scores_as_its_network(tmp_path, arch):
    """The network itself on the central squares of the images, by other code."""
    data = write_images(tmp_path / "images", {"a": 12, "b": 12, "c": 12, "d": 12}, size=72)
    path = exported(arch, tmp_path / "files", format="onnx", classes=4).path
    tests = load_full(str(data), size=72).test
    x = to_input(
        tests.squares(range(len(tests))).pixels_NSSC[:, 4:-4, 4:-4], "BGR" if arch is ONE_FIRST else "RGB"
    )
    with torch.inference_mode():
        named = for_inference(network(arch, 4))(x).argmax(1).numpy()
    found = score(path, data, tmp_path)
    assert found.top1 == Share(right=int((named == tests.labels_N).sum()), of=len(tests))
    assert [share.right for share in found.classes.values()] == [
        int(((named == label) & (tests.labels_N == label)).sum()) for label in range(4)
    ]
