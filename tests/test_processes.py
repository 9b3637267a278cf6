"""`mvit2-search run` in a process of its own: nothing faked, signals, a reader that leaves, the wheel."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from commands import invoke, run_arguments
from conftest import write_images

ROOT = Path(__file__).parent.parent


def command(tmp_path, **changes):
    return [sys.executable, "-m", "mvit2_search", *map(str, run_arguments(tmp_path, **changes))]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Where the wheel is installed, without what it depends on."""
    folder = tmp_path_factory.mktemp("wheel")
    source, site = folder / "source", folder / "site"
    ignored = shutil.ignore_patterns(".git", ".venv*", "results", "dist", "*_cache", "__pycache__", ".hypothesis")
    shutil.copytree(ROOT, source, ignore=ignored)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "-w", folder, source], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", "-q", "--no-deps", "--target", site, wheel], check=True, capture_output=True)
    return site


def from_the_wheel(site, folder, *words):
    """A finished process of Python's in a folder, which finds the wheel's package first."""
    environment = {**os.environ, "PYTHONPATH": str(site), "TERM": "dumb", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-P", *words], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("timing")  # beside the next one, which needs the wheel too
def test_the_wheel_brings_its_spaces_and_images(tmp_path, site):
    where = from_the_wheel(site, tmp_path, "-c", "import mvit2_search; print(mvit2_search.__file__)")
    assert where.stdout.startswith(str(site))
    figures = Path("mvit2_search", "arch", "published.csv")
    assert (site / figures).read_bytes() == (ROOT / figures).read_bytes()
    changes = {"space": "width", "data": "fashion-mnist-mini", "latency-budget": "0.001ms", "results": "results"}
    asked = run_arguments(tmp_path, device="estimate:iphone12", **changes)
    searched = from_the_wheel(site, tmp_path, "-m", "mvit2_search", *asked)
    assert searched.returncode == 1, searched.stderr
    assert "No network within the budget was found: " in searched.stdout
    assert (tmp_path / "results" / "one" / "report.html").is_file()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_real_search_on_a_users_images(tmp_path, timed, site):
    """Nothing is faked: exports, ONNX Runtime, training; then the files, a second call, another seed."""
    shutil.copytree(timed, tmp_path / "results" / ".latencies")
    write_images(tmp_path / "images", {"red": 40, "green": 40, "blue": 40}, size=50, ending="jpg")
    asked = [str(word) for word in run_arguments(tmp_path)]
    first = from_the_wheel(site, tmp_path, "-m", "mvit2_search", *asked)
    assert first.returncode == 0, first.stdout + first.stderr
    lines = first.stdout.splitlines()
    folder = tmp_path / "results" / "one"
    assert lines[-7].startswith("Best within the budget: ")
    assert re.match(r"Gain of trial \d+ over mobilevitv2-0.75 \(", lines[-6])
    assert lines[-5].startswith("To export: ")
    assert lines[-4].startswith("Stopped early by dominance: ")
    assert lines[-3].startswith("Audit: ")
    assert lines[-2] == f"Report: {folder / 'report.html'}"
    assert "\x1b" not in first.stdout
    assert {path.name for path in folder.iterdir()} >= {"study.db", "study.yaml", "pareto.csv", "report.html"}
    exported = lines[-1].removeprefix("Export: python -m mvit2_search ").split()
    assert invoke(*exported).exit_code == 0
    again = invoke(*asked)
    assert again.exit_code == 0
    assert "Study one is finished: the candidates asked for (1) are trained." in again.stdout
    assert "trial 0" not in again.stdout
    other = invoke(*run_arguments(tmp_path, seed=1))
    assert other.exit_code == 3
    assert other.stderr.startswith("error: study 'one' was made with other inputs: seed: was 0, now 1")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ctrl_c_stops_the_search_and_prints_how_to_go_on(tmp_path, images):
    """On an estimate: nothing waits for a turn to time networks. Other signals: test_signals.py."""
    longer = [*command(tmp_path, device="estimate:iphone12"), "--images-per-epoch", "100"]
    with subprocess.Popen(longer, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("trial 0"):
                break
        time.sleep(0.5)  # into the next trial, which takes longer than that
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=60)
    assert process.returncode == 130, rest + errors
    assert f"To continue:\n    python -m mvit2_search run --space blocks --data {tmp_path}/images" in rest
    assert "Traceback" not in errors


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_reader_that_leaves_does_not_end_the_search(tmp_path, images):
    """On an estimate, as there is as much to print then and nothing to time."""
    estimated = command(tmp_path, device="estimate:iphone12")
    with subprocess.Popen(estimated, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        process.stdout.close()
        process.wait(timeout=300)
    assert json.loads(invoke("status", tmp_path / "results" / "one", "--json").output)["ended"]
