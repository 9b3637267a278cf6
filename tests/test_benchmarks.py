"""The benchmark beside timm runs and writes what it should; how fast anything is, is no test's business."""

import json
import re
import runpy
import shutil
import signal
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cifar10
import models
import pytest
from cifar10 import PUBLISHED, SEARCHED, Case
from click.testing import CliRunner
from sampler_bench.run import read_rows, rows_file
from samplers import samplers

import data
from conftest import write_images
from fakes import request, search
from mvit2_search.api import export_architecture
from mvit2_search.cli import cli
from mvit2_search.records import Recipe

ROOT = Path(__file__).parent.parent


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs a script of `benchmarks` as it is typed in the root, but in this process, which has imported torch."""

    def run(name: str, *arguments: object) -> None:
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(f"benchmarks/{name}", run_name="__main__")

    return run


@pytest.mark.slow
def test_the_benchmark_beside_timm_writes_its_tables(tmp_path, monkeypatch, capsys):
    """Two workers are processes of their own; all batches are small."""
    out = tmp_path / "models.json"
    command = ["models.py", "--rounds", "2", "--widths", "0.5", "--sizes", "64", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.setattr(models, "BATCHES", {table: {64: (4,)} for table in models.BATCHES})
    models.main()
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed] == ["train", "infer", "worker"]
    report = json.loads(out.read_text())
    assert report["versions"]["torch"].startswith("2.")
    assert [row["case"]["table"] for row in report["rows"]] == ["train", "infer", "worker"]
    for row in report["rows"]:
        assert row["rounds"] == 2
        assert row["ratio"][0] > 0
        assert row["relative_error"] is None or row["relative_error"] < 1e-4


@pytest.mark.slow
def test_the_sampler_is_replayed_on_our_own_networks(tmp_path, script):
    out = tmp_path / "own.json"
    script("own_space.py", "--orders", 3, "--out", out)
    report = json.loads(out.read_text())
    for name in ("front", "random"):
        means = [mean for mean, _ in report["gap_pct"][name].values()]
        assert list(report["gap_pct"][name]) == ["6", "9", "12", "16", "20"]
        assert 100 > means[0] > means[-1] >= 0
        assert means == sorted(means, reverse=True)


@pytest.mark.slow
def test_gains_are_estimated_and_intervals_counted(tmp_path, script):
    out = tmp_path / "gain.json"
    script("gain.py", "--cases", 20, "--out", out)
    report = json.loads(out.read_text())
    assert {row["candidates"] for row in report["estimates"]} == {2, 3, 4}
    assert all(len(row["bias_rmse"]) == 4 for row in report["estimates"])
    assert all(row["common_spread_pct"] <= row["held_pct"] <= 100 for row in report["intervals"])
    assert all(row["median_ratio"] >= 1 for row in report["intervals"])


@pytest.mark.slow
def test_proposals_are_timed_for_every_way_to_know_a_latency(tmp_path, script):
    out = tmp_path / "proposals.json"
    script("proposals.py", "--trials", 25, 40, "--out", out)
    report = json.loads(out.read_text())
    assert list(report) == [f"{count} trials, {name}" for count in (25, 40) for name in ("estimate", "device")]
    assert all(0 < row["median_s"] <= row["largest_s"] for row in report.values())


def from_the_root(script, *arguments):
    command = [sys.executable, f"benchmarks/{script}", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.slow
def test_samplers_are_compared_in_several_processes(tmp_path):
    """They compute what one process does."""
    asked = ["--problems", "zdt1", "--peers", "random,nsga2", "--seeds", "2", "--evaluations", "6", "--json"]
    done = from_the_root("samplers.py", *asked, "--jobs", "2", "--results", tmp_path)
    assert done.returncode == 0, done.stderr
    assert CliRunner().invoke(samplers, [*asked, "--jobs", "1", "--results", str(tmp_path / "one")]).exit_code == 0
    found, expected = (
        without_time(read_rows(rows_file(path / "bench" / "search"))) for path in (tmp_path, tmp_path / "one")
    )
    assert [row["seeds"] for row in json.loads(done.stdout)["samplers"]] == [2, 2]
    assert found == expected
    assert "4/4 zdt1" in done.stderr


def without_time(rows):
    return {key: (row.gap_pct, row.duplicates_pct) for key, row in rows.items()}


@pytest.mark.slow
def test_the_predictor_ends_with_a_line_and_a_code(tmp_path):
    done = from_the_root("predictor.py", "--device", "host", "--measured", "5", "--results", tmp_path)
    said = "error: expected at least 20 measured networks and 1 held out\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


@pytest.mark.slow
def test_reading_a_study_of_many_trials_is_timed(tmp_path, script):
    out = tmp_path / "reading.json"
    script("reading.py", "--trials", 30, "--out", out)
    report = json.loads(out.read_text())
    assert report["trials"] == 30
    assert set(report["processor_s"]) == {"status", "report"}
    assert min(report["processor_s"].values()) > 0


@pytest.fixture
def proof(tmp_path, monkeypatch):
    """Runs `cifar10.py` for one seed and one epoch on a few images."""
    monkeypatch.setattr(cifar10, "RECIPE", (*cifar10.RECIPE, "--image-size", "32", "--batch-size", "8"))
    for part in ("train", "val"):
        write_images(tmp_path / "images" / part, {"blue": 20, "red": 20})
    study = search(request(tmp_path))
    number = next(trial.number for trial in study.trials() if not trial.published)  # the best one is published
    monkeypatch.setattr(cifar10, "export_architecture", partial(export_architecture, number=number))
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def run(*words, study=True):
        names = {"data": "images", "trainings": "trained", "out": "out"} | (
            {"study": "results/test"} if study else {}
        )
        places = [word for name, place in names.items() for word in (f"--{name}", str(tmp_path / place))]
        monkeypatch.setattr(sys, "argv", ["cifar10.py", *places, "--epochs", "1", "--seeds", "1", *words])
        cifar10.main()
        return (tmp_path / "out" / "README.md").read_text()

    return run


def in_this_process(trainings, *words):
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.slow
def test_the_proof_on_real_images_goes_on_where_it_was_stopped(tmp_path, proof, monkeypatch, capfd):
    text = proof("--minutes", "0")
    assert "Missing: mobilevitv2-0.75, seed 0; searched, seed 0." in text
    assert "Time is up" in capfd.readouterr().out
    assert [path.name for path in tmp_path.glob("out/*.json")] == ["searched.json"]

    monkeypatch.setattr(cifar10.Trainings, "_run", in_this_process)
    shutil.rmtree(tmp_path / "results")  # as on another machine
    text = proof(study=False)
    assert "All trainings are finished." in text
    assert re.search(r"^\| searched \([0-9a-f]{12}\) \| [\d.]+ ms .*\| 1 \| [\d.]+ \|  \| 0: ", text, re.MULTILINE)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README.md",
        f"{PUBLISHED}-seed0.csv",
        f"{PUBLISHED}-seed0.json",
        f"{SEARCHED}-seed0.csv",
        f"{SEARCHED}-seed0.json",
        "searched.json",
        "searched.yaml",
    ]
    assert str(tmp_path) not in text

    monkeypatch.setattr(cifar10.Trainings, "_run", None)  # nothing is left to run
    assert proof(study=False) == text
    with pytest.raises(SystemExit, match="trained for 1 epochs; give another --out"):
        proof("--epochs", "2")


def test_the_proof_needs_a_study_once(proof):
    with pytest.raises(SystemExit, match="give --study"):
        proof(study=False)


def found_by_a_study():
    latencies = {PUBLISHED: "9 ms", SEARCHED: "8 ms"}
    return cifar10.Searched(key="abc", found_by="trial 1 of study s", timed_on="a chip", latencies=latencies)


def test_differences_are_of_the_same_seeds():
    def found(**scores):
        return {int(seed[1:]): scored(pct) for seed, pct in scores.items()}

    def scored(pct):
        return (
            None
            if pct is None
            else {"machine": "M", "top1": {"pct": pct, "low_pct": pct - 1, "high_pct": pct + 1, "images": 10}}
        )

    rows = {
        Case(network=PUBLISHED, taught=False): found(s0=70.0, s1=80.0, s2=75.0),
        Case(network=SEARCHED, taught=False): found(s0=72.0, s1=81.0, s2=None),
        Case(network=PUBLISHED, taught=True): found(s0=75.0, s1=None, s2=None),
        Case(network=SEARCHED, taught=True): found(s0=None, s1=None, s2=None),
    }
    means = {name: (one.mean, one.pairs, one.compared) for name, one in cifar10.differences(rows)}
    assert means == {
        "searched minus mobilevitv2-0.75": (1.5, 2, 2),
        "mobilevitv2-0.75, with teacher minus mobilevitv2-0.75": (5.0, 1, 2),
    }
    text = cifar10.table(rows, found_by_a_study(), ["About."])
    assert "| mobilevitv2-0.75 | 9 ms | 3 | 75.00 | 5.00 | 0: 70.00 [69.00, 71.00]; 1: 80.00" in text
    assert "| mobilevitv2-0.75, with teacher minus mobilevitv2-0.75 | 1 | +5.00 | needs two seeds |" in text
    assert "Missing: searched, seed 2; mobilevitv2-0.75, with teacher, seed 1;" in text


@pytest.mark.slow
def test_a_folder_of_many_files_is_opened_and_timed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # where it writes its files for a while
    (tmp_path / "images").mkdir()
    data.write_links(tmp_path / "images", 3000)
    data.opened(Namespace(data=tmp_path / "images" / "images"))
    assert re.fullmatch(r"\d+\.\d s until the first batch, \d+\.\d\d GB\n", capsys.readouterr().out)


@pytest.mark.slow
def test_the_loader_is_timed_beside_a_step(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "few" / "train", {"a": 4, "b": 4})
    options = Namespace(data=tmp_path / "few", photos=8, rounds=1, width=0.5)
    with data.photographs(options) as folder:
        photos = sorted(path.name for path in (folder / "train").rglob("*.jpg"))
        assert len(photos) == 8
        found = data.speeds(folder, Recipe(image_size=32, batch_size=4), tmp_path / "results", options)
    assert re.fullmatch(r"files \d+, cache \d+, training step \d+", found)
    assert {path.name for path in tmp_path.iterdir()} == {"few", "results"}
