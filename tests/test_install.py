"""What `make` installs before what it does, as `make -n` prints it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
USERS, DEVELOPERS = "-e .", "-e '.[dev]'"
STAMPS = {USERS: ".user", DEVELOPERS: ".developer"}

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def installed(target, venv):
    command = ["make", "-n", target, f"VENV={venv}"]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    found = [line.partition("constraints.txt ")[2] for line in lines if "pip install" in line]
    return [*dict.fromkeys(found)]  # `check` calls make again, which -n lets install again


def done(venv, *what):
    venv.mkdir(exist_ok=True)
    for one in what:
        (venv / STAMPS[one]).touch()
    return venv


@pytest.mark.parametrize("target", ["test", "check", "setup"])
def test_the_main_job_installs_no_developers_packages_and_tests_add_them(tmp_path, target):
    assert installed("run", tmp_path / "fresh") == [USERS]
    assert installed(target, tmp_path / "fresh") == [DEVELOPERS]  # which are all
    after_run = done(tmp_path / "venv", USERS)
    assert installed("run", after_run) == []
    assert installed(target, after_run) == [DEVELOPERS]
    after_test = done(after_run, DEVELOPERS)
    assert installed("run", after_test) == installed(target, after_test) == []


def test_other_versions_are_installed_anew(tmp_path):
    venv = done(tmp_path / "venv", USERS, DEVELOPERS)
    for stamp in STAMPS.values():
        os.utime(venv / stamp, (0, 0))  # older than pyproject.toml
    assert installed("test", venv) == [DEVELOPERS]
    assert installed("run", venv) == [USERS]
