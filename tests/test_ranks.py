"""Two processes, by torchrun, train as one does."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from exports import FEW
from mvit2_search.arch.config import arch_yaml
from mvit2_search.train.ranks import ALONE, Ranks
from rank_driver import trained

SCRIPT = Path(__file__).parent / "rank_driver.py"


@pytest.mark.slow
def test_two_processes_and_two_parts_train_as_one_process_with_the_whole_batch(tmp_path):
    """Normalisation is frozen, images are mixed."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run([*torchrun, SCRIPT, tmp_path / "found"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found, one = json.loads((tmp_path / "found").read_text()), trained(ALONE, 1)
    assert found["world"] == 2
    for other in (found["whole"], found["parts"]):
        for ours, theirs in zip(one["gradients"], other["gradients"], strict=True):
            assert ours == pytest.approx(theirs, abs=1e-6, rel=1e-6)  # float32 holds 2.0 to 1.2e-7 only
        assert one["losses"] == pytest.approx(other["losses"], abs=1e-4)
        assert (one["score"], one["balanced"]) == (other["score"], other["balanced"])
    assert len(one["losses"]) == 20
    assert max(map(max, one["gradients"])) > 1e-3
    assert found["shared"] == [[[0.0, 0.0], 0]] * 2


def command(folder, *more):
    sizes = [
        "--image-size",
        "32",
        "--batch-size",
        "8",
        "--images-per-epoch",
        "64",
        "--nproc",
        "2",
        "--decay",
        "none",
    ]
    asked = ["train", folder / "few.yaml", "--data", folder / "images", "--out", folder / "out", *sizes, *more]
    return [sys.executable, "-m", "mvit2_search", *map(str, asked)]


def children(process):
    found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(child) for child in found if b"mvit2_search" in Path(f"/proc/{child}/cmdline").read_bytes()]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
def test_a_killed_process_ends_all_with_one_line_and_the_same_command_goes_on(tmp_path, images):
    (tmp_path / "few.yaml").write_text(arch_yaml(FEW, []))
    with subprocess.Popen(
        command(tmp_path, "--epochs", "4"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while not process.stdout.readline().startswith("epoch 2"):
            assert process.poll() is None
        os.kill(children(process)[1], signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
    lines = [line for line in errors.splitlines() if line.startswith("error")]
    assert process.returncode == 1
    assert len(lines) == 1
    assert "was killed by SIGKILL; the same command goes on with the training" in lines[0]
    assert "Traceback" not in errors
    again = subprocess.run(command(tmp_path, "--epochs", "4"), capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "Going on after step" in again.stdout
    assert "epoch 4 of 4" in again.stdout


def test_every_image_is_tested_once_whatever_the_number_of_processes(monkeypatch):
    for count, world in ((10, 3), (2, 3), (9, 1)):
        ranks = [Ranks(rank=rank, world=world) for rank in range(world)]
        parts = [one.indices(count) for one in ranks]
        assert sorted(np.concatenate(parts)) == list(range(count))
        monkeypatch.setattr(Ranks, "gathered", lambda self, mine, parts=parts: [part * 10 for part in parts])
        assert ranks[0].joined(parts[0] * 10, count).tolist() == [10 * i for i in range(count)]


def test_one_process_exchanges_nothing():
    assert ALONE.gathered("a") == ["a"]
    assert ALONE.means([1.5, 2.5]) == (1.5, 2.5)
    assert ALONE.joined(np.array([3, 1]), 2).tolist() == [3, 1]
