"""`mvit2-search train` as it is typed: what it says, writes and refuses."""

import csv
import json
import re
import shutil
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from plotly.offline import get_plotlyjs

from conftest import write_images
from mvit2_search.arch import ArchConfig
from mvit2_search.arch.config import arch_yaml
from mvit2_search.cli import cli
from mvit2_search.records import EpochRow, Recipe
from mvit2_search.report.training import write_training_files
from mvit2_search.train.plan import RECIPES, load_recipe
from test_events import shown

RED = "\x1b[31m"
SMALL = ["--image-size", "32", "--batch-size", "8", "--train-on", "cpu"]


def train(*words, what="few.yaml", data="images", out="out"):
    return CliRunner().invoke(cli, ["train", what, "--data", data, "--out", out, *SMALL, *words])


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A folder to work in, with images, an architecture and recipes."""
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "images", {"blue": 10, f"{RED}red": 10})
    (tmp_path / "few.yaml").write_text(arch_yaml(ArchConfig.mobilevitv2(0.25), []))
    (tmp_path / "mine.yaml").write_text("epochs: 7\nlearning_rate: 0.003\n")
    (tmp_path / "misspelt.yaml").write_text("epochs: 2\nlearning_rte: 0.1\n")
    (tmp_path / "wrong.yaml").write_text("epochs: 2\nmixup: true\n")
    (tmp_path / "list.yaml").write_text("- 2\n")
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a training of two epochs in `out`, and what the command said. Not to be changed."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_images(folder / "images", {"blue": 10, f"{RED}red": 10})
        (folder / "few.yaml").write_text(arch_yaml(ArchConfig.mobilevitv2(0.25), []))
        return folder, train("--epochs", "2")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--epochs", "0"], "'--epochs': 0: expected a whole number from 1 to"),
        (["--epochs", "nan"], "'--epochs': 'nan': expected a whole number from 1 to"),
        (["--epochs", "1.5"], "'--epochs': '1.5': expected a whole number from 1 to"),
        (["--epochs", "none"], "'--epochs': 'none': expected a whole number from 1 to"),
        (["--learning-rate", "nan"], "'--learning-rate': nan: expected a number from"),
        (["--learning-rate", "-1"], "'--learning-rate': -1.0: expected a number from"),
        (["--learning-rate", f"{RED}1"], r"'--learning-rate': '\x1b[31m1': expected a number from"),
        (["--optimizer", "adam"], "'--optimizer': 'adam': expected one of adamw, sgd"),
        (["--decay", "cosine"], "'--decay': 'cosine': expected one of step, epoch, none"),
        (["--seed", "-1"], "'--seed': -1 is not in the range"),
        (["--seed", str(2**32)], "'--seed': 4294967296 is not in the range"),
        (["--accumulate", "0"], "'--accumulate': 0 is not in the range"),
        (["--accumulate", "3"], "expected a multiple of 3 (--accumulate 3"),
        (["--workers", "-1"], "'--workers': -1 is not in the range"),
        (["--precision", "fp8"], "--precision 'fp8': expected one of auto, fp32, bf16, fp16"),
        (["--train-on", "gpu"], "--train-on 'gpu': expected auto, cpu, mps"),
        (["--images-per-epoch", "4"], "--batch-size 8: more than the 4 of --images-per-epoch"),
        (["--recipe", "smal"], "did you mean 'small'?"),
        (["--recipe", "nowhere.yaml"], "nowhere.yaml: No such file"),
        (
            ["--recipe", "misspelt.yaml"],
            "misspelt.yaml:2:1: learning_rte: unknown key; did you mean 'learning_rate'?",
        ),
        (["--recipe", "wrong.yaml"], "wrong.yaml:2:1: mixup: True: expected a number"),
        (["--recipe", "list.yaml"], "list.yaml:1:1: expected a mapping"),
        (["--init", "nowhere.pt"], "--init nowhere.pt: no such file"),
    ],
)
def test_wrong_options_are_one_line(desk, words, said):
    done = train(*words)
    assert done.exit_code == 2
    assert re.fullmatch(r"(Usage: .*\n.*\n\n)?[Ee]rror: .+\n", done.output), done.output
    assert said in done.output
    assert not (desk / "out").exists()


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("first:abc", "'first:abc': expected STUDY, or STUDY:TRIAL with the number of a trial"),
        ("first:", "'first:': expected STUDY, or STUDY:TRIAL"),
        (":3", "':3': expected STUDY, or STUDY:TRIAL"),
        ("", "'': expected STUDY, or STUDY:TRIAL"),
        ("first", "results/first: no study here; `mvit2-search run` with --study first makes one"),
        ("first:3", "results/first: no study here"),
        ("mobilevitv2-0.55", "no published network and no study; did you mean 'mobilevitv2-0.5'?"),
        ("nowhere.yaml", "nowhere.yaml: No such file"),
        ("mine.yaml", "mine.yaml:1:1: epochs: unknown key"),
    ],
)
def test_what_cannot_be_trained_is_one_line(desk, what, said):
    done = train(what=what)
    assert done.exit_code == 2
    assert re.fullmatch(r"(Usage: .*\n.*\n\n)?[Ee]rror: .+\n", done.output), done.output
    assert said in done.output
    assert not (desk / "out").exists()


def test_images_that_are_not_there_are_one_line(desk):
    done = train(data="nowhere")
    assert (done.exit_code, done.output.count("\n")) == (4, 1)
    assert done.output.startswith("error: nowhere: no such folder")


@pytest.mark.slow
def test_a_dry_run_prints_every_setting_and_writes_nothing(desk):
    before = sorted(desk.rglob("*"))
    words = [
        "--recipe",
        "mine.yaml",
        "--dry-run",
        "--no-flip",
        "--images-per-epoch",
        "none",
        "--weight-decay",
        "none",
    ]
    done = train(*words, "--accumulate", "2", "--seed", "5")
    assert done.exit_code == 0, done.output
    assert sorted(desk.rglob("*")) == before
    rows = dict(re.split(r"  +", line, maxsplit=1) for line in done.stdout.splitlines())
    assert {field.name for field in fields(Recipe)} <= rows.keys()
    expected = {
        "training images": "16",
        "test images": "4",
        "classes": "2",
        "short side of images": "32",
        "epochs": "7",
        "learning_rate": "0.003",
        "images_per_epoch": "none",
        "flip": "false",
        "settle": "true",
        "steps per epoch": "2",
        "steps": "14",
        "warm-up steps": "1",
        "parts of a batch": "2",
        "seed": "5",
        "starts from": "random weights",
        "device": "cpu",
        "precision": "fp32",
    }
    assert {name: rows[name] for name in expected} == expected
    assert float(rows["weight_decay"]) == pytest.approx(0.004)  # published for the smallest width
    assert re.fullmatch(r"\S+ s in one process, median of \d+", rows["time of a step"])
    assert re.fullmatch(r"\d+ MB", rows["disk space"])


@pytest.mark.slow
def test_an_epoch_is_a_line(trained):
    _, done = trained
    assert done.exit_code == 0, done.output
    first, *epochs, best, curves = done.stdout.splitlines()
    assert first == "Training few.yaml on images: 16 training and 4 test images of 2 classes, 2 epochs"
    for number, line in enumerate(epochs, 1):
        assert re.fullmatch(rf"epoch {number} of 2: loss \d\.\d{{4}}, top-1 \d+\.\d\d %, \d+\.\d s", line), line
    assert len(epochs) == 2
    assert re.fullmatch(r"Best: epoch [12], top-1 \d+\.\d\d %", best)
    assert curves == "Curves: out/training.html"
    assert "\x1b" not in done.output
    assert done.stderr == ""


@pytest.mark.slow
def test_the_table_of_epochs_says_what_was_printed(trained):
    folder, done = trained
    with (folder / "out" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [list(row) for row in rows] == [[field.name for field in fields(EpochRow)]] * 2
    for row in rows:
        assert (
            f"epoch {row['epoch']} of 2: loss {float(row['loss']):.4f}, top-1 {float(row['score']):.2f} %"
            in done.stdout
        )
    state = json.loads((folder / "out" / "checkpoint-last" / "state.json").read_text())
    assert [row["score"] for row in state["rows"]] == [float(row["score"]) for row in rows]


@pytest.mark.slow
def test_tensorboard_shows_what_the_table_says(trained):
    folder, _ = trained
    rows = pd.read_csv(folder / "out" / "metrics.csv").set_index("epoch")
    columns = ["loss", "learning_rate", "score"]
    curves = pd.DataFrame(shown(folder / "out"))[columns]
    pd.testing.assert_frame_equal(curves, rows[columns].astype(float), check_names=False)


@pytest.mark.slow
def test_a_finished_training_says_so_and_its_files_are_written_again(trained, tmp_path, monkeypatch):
    """A process may have been killed after it saved an epoch and before it wrote them."""
    folder, done = trained
    shutil.copytree(folder, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    before = {name: (folder / "out" / name).read_bytes() for name in ("metrics.csv", "training.html")}
    for name in before:
        (tmp_path / "copy" / "out" / name).unlink()
    again = train("--epochs", "2")
    assert again.exit_code == 0
    assert again.stdout.splitlines()[1:] == ["Going on after step 4 of 4", *done.stdout.splitlines()[-2:]]
    assert {name: (tmp_path / "copy" / "out" / name).read_bytes() for name in before}.keys() == before.keys()
    assert (tmp_path / "copy" / "out" / "metrics.csv").read_bytes() == before["metrics.csv"]


@pytest.mark.slow
def test_a_training_that_was_started_otherwise_is_not_touched(trained, monkeypatch):
    folder, _ = trained
    monkeypatch.chdir(folder)
    before = (folder / "out" / "metrics.csv").read_bytes()
    done = train("--epochs", "3")
    assert done.exit_code == 3
    assert "--epochs: was 2, now 3; repeat its command to go on, or give another --out" in done.output
    assert (folder / "out" / "metrics.csv").read_bytes() == before


@pytest.mark.slow
def test_a_trained_network_is_scored_as_it_was_when_it_was_saved(trained, monkeypatch):
    folder, done = trained
    monkeypatch.chdir(folder)
    scored = CliRunner().invoke(cli, ["evaluate", "out", "--data", "images", "--json"])
    assert scored.exit_code == 0, scored.output
    assert "\x1b" not in scored.output
    assert f"top-1 {json.loads(scored.stdout)['top1']['pct']:.2f} %" in done.stdout.splitlines()[-2]


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.links, self.tags = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]


def test_the_page_is_one_offline_file_with_the_numbers(tmp_path):
    rows = [
        EpochRow(epoch=1, learning_rate=3e-4, loss=2.25, score=40.0, seconds=9.0),
        EpochRow(epoch=2, learning_rate=1e-6, loss=1.75, score=66.125, seconds=8.5),
        EpochRow(epoch=3, learning_rate=0.0, loss=1.5, score=66.125, seconds=8.25),
    ]
    write_training_files(tmp_path, "<b>first</b>", rows, "top-1")
    html = (tmp_path / "training.html").read_text()
    parser = Links()
    parser.feed(html)
    assert parser.links == []
    assert "b" not in parser.tags
    assert re.findall(r"https?:|wss?:|[\"'(=]//", html.replace(get_plotlyjs(), "")) == []
    assert "default-src 'none'" in html
    assert "Best: epoch 2, top-1 66.12 % on the test images." in html
    assert "<td>0.0003</td>" in html
    assert "<td>1e-06</td>" in html
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert lines[0] == "epoch,learning_rate,loss,score,seconds"
    assert lines[2] == "2,1e-06,1.75,66.125,8.5"


def test_the_help_names_every_recipe_and_explains_every_setting():
    text = CliRunner().invoke(cli, ["train", "--help"]).output
    assert all(re.search(rf"\b{recipe}\b", text) for recipe in RECIPES)
    for field in fields(Recipe):
        flag = f"--{field.name.replace('_', '-')}"
        assert re.search(rf"^  {flag}[ \n]", text, re.MULTILINE), flag


def test_the_guide_tells_the_recipes_as_they_are(tmp_path):
    guide = (Path(__file__).parent.parent / "docs" / "training.md").read_text()
    rows = re.findall(r"^\| `([a-z0-9-]+)`.* \| (\d+) \| (\d+) \|$", guide, re.MULTILINE)
    assert {name: (int(epochs), int(size)) for name, epochs, size in rows} == {
        name: (load_recipe(name).epochs, load_recipe(name).image_size) for name in RECIPES
    }
    (own,) = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    (tmp_path / "mine.yaml").write_text(own)
    assert load_recipe(str(tmp_path / "mine.yaml")).epochs == 60
