"""The benchmark beside timm runs and writes what it should; how fast anything is, is no test's business."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "models.py"


@pytest.mark.slow
def test_the_benchmark_beside_timm_writes_its_tables(tmp_path):
    out = tmp_path / "models.json"
    command = [sys.executable, SCRIPT, "--rounds", "2", "--widths", "0.5", "--sizes", "64", "--out", out]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split()[0] for line in printed] == ["train", "infer", "worker"]
    report = json.loads(out.read_text())
    assert report["versions"]["torch"].startswith("2.")
    assert [row["case"]["table"] for row in report["rows"]] == ["train", "infer", "worker"]
    for row in report["rows"]:
        assert row["rounds"] == 2
        assert row["ratio"][0] > 0
        assert row["relative_error"] is None or row["relative_error"] < 1e-4
