"""Outputs that take nothing, folders below the home folder, and a system without POSIX's modules."""

import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from conftest import write_images
from exports import FEW, exported
from fakes import request, search
from mvit2_search.arch.config import arch_yaml
from mvit2_search.cli import cli

ROOT = Path(__file__).parent.parent
PROGRAM = [sys.executable, "-m", "mvit2_search"]
FULL = Path("/dev/full")
PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
SEARCH = "run --space width --data images --latency-budget 9ms --device estimate:iphone12 --study s"
COMMANDS = [
    ["--help"],
    ["--version"],
    ["run", "--help"],
    ["bench", "rank", "--help"],
    ["validate", "width"],
    ["validate", "width", "--json"],
    ["devices"],
    ["profile", "mobilevitv2-0.5", "--json"],
]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Another home folder, and another folder to work in."""
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


@pytest.mark.slow
@pytest.mark.skipif(not FULL.exists(), reason="only Linux has a disk that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_full_disk_is_one_line(arguments, unbuffered):
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with FULL.open("w") as full:
        done = subprocess.run(
            [*PROGRAM, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, env=environment
        )
    assert (done.returncode, done.stderr) == (4, "error: stdout: cannot be written: No space left on device\n")


@pytest.mark.skipif(not FULL.exists(), reason="only Linux has a disk that is always full")
def test_a_full_disk_under_the_errors_is_an_exit_code():
    with FULL.open("w") as full:
        assert subprocess.run([*PROGRAM, "validate", "none"], stderr=full).returncode == 4
        assert subprocess.run([*PROGRAM, "validate", "width"], stdout=full, stderr=full).returncode == 4


@pytest.mark.slow
@pytest.mark.skipif(not FULL.exists(), reason="only Linux has a disk that is always full")
def test_a_full_disk_under_the_progress_is_one_line(tmp_path):
    write_images(tmp_path / "images", {"a": 20, "b": 20})
    with FULL.open("w") as full:
        done = subprocess.run(
            [*PROGRAM, *SEARCH.split()], stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path
        )
    assert (done.returncode, done.stderr) == (4, "error: stdout: cannot be written: No space left on device\n")


def test_a_reader_that_leaves_is_no_error():
    with subprocess.Popen(
        [*PROGRAM, "validate", "blocks"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode in (0, 1)


def test_a_closed_output_is_no_error():
    command = " ".join([*PROGRAM, "validate", "width", ">&-"])
    done = subprocess.run(command, shell=True, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_results_lie_in_the_home_folder(home):
    user = pwd.getpwuid(os.getuid()).pw_name
    done = CliRunner().invoke(cli, ["export", "mobilevitv2-0.5", "--results=~/out"])
    assert done.output.startswith(f"{home}/out/exports/")
    assert (home / "out" / "exports").is_dir()
    assert list(Path.cwd().iterdir()) == []
    status = CliRunner().invoke(cli, ["status", "none", f"--results=~{user}/no/such/folder"])
    assert status.stderr.startswith(f"error: {Path(f'~{user}').expanduser()}/no/such/folder/none")


@pytest.mark.slow
def test_other_places_lie_in_the_home_folder_too(home):
    write_images(home / "images", {"a": 20, "b": 20})
    exported = CliRunner().invoke(cli, ["export", "mobilevitv2-0.5", "--results=~/out"]).output.strip()
    (home / "arch.yaml").write_bytes(Path(exported).read_bytes())
    study = search(request(home))
    space = home / "space.yaml"
    space.write_text("name: mine\nsettings:\n  width: {range: [0.5, 1.0]}\n")
    for arguments in (
        ["status", "~/results/test"],
        ["export", "~/results/test"],
        ["export", "~/arch.yaml"],
        ["validate", "~/space.yaml"],
        ["profile", "~/arch.yaml"],
        ["measure", "~/arch.yaml", "--device", "estimate:iphone12"],
    ):
        done = CliRunner().invoke(cli, arguments)
        assert done.exit_code == 0, (arguments, done.output)
    asked = ["run", "--study", "s", "--device", "estimate:iphone12", "--latency-budget", "9ms"]
    no_space = CliRunner().invoke(cli, [*asked, "--space=~/none.yaml", "--data=~/images"])
    assert no_space.stderr == f"error: {home}/none.yaml: no such file\n"
    no_data = CliRunner().invoke(cli, [*asked, "--space=~/space.yaml", "--data=~/none"])
    assert no_data.stderr.startswith(f"error: {home}/none: no such folder")
    assert study.folder.is_dir()


def test_the_home_of_nobody_is_an_error(home):
    done = CliRunner().invoke(cli, ["export", "mobilevitv2-0.5", "--results=~no-such-user/out"])
    assert done.exit_code == 2
    assert "no such user" in done.stderr
    assert list(Path.cwd().iterdir()) == []


WITHOUT_POSIX = """
import builtins, os, signal, sys
from pathlib import Path
real = builtins.__import__
class WindowsOS:
    def __getattr__(self, name):
        if name in {"O_NOFOLLOW", "fchmod", "getpgid", "getuid", "killpg"}:
            raise AttributeError(name)
        return getattr(os, name)
    def open(self, path, *rest, **named):
        if Path(path).is_dir():
            raise PermissionError(13, "Permission denied", str(path))
        return os.open(path, *rest, **named)
windows_os = WindowsOS()
def on_windows(name, globals=None, *rest):
    asks = (globals or {}).get("__name__") or ""
    if name in {"fcntl", "grp", "pwd", "resource", "termios", "tty"} and asks.startswith("mvit2_search"):
        raise ModuleNotFoundError(f"No module named {name!r}")
    if name == "os" and asks.startswith("mvit2_search"):
        return windows_os
    return real(name, globals, *rest)
builtins.__import__ = on_windows
for name in set(dir(signal)) - {"SIGINT", "SIGTERM", "SIGABRT", "SIGBREAK", "SIG_IGN", "SIG_DFL"}:
    if name.startswith("SIG") and name.isupper():
        delattr(signal, name)
import contextlib, io, json
from mvit2_search.cli import cli
answers = []
for arguments in json.loads(sys.argv[1]):
    out, said = (io.TextIOWrapper(io.BytesIO(), write_through=True) for _ in range(2))
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
        try:
            cli(arguments)
        except SystemExit as end:
            code = end.code
    answers.append([code, said.buffer.getvalue().decode()])
print(json.dumps(answers))
"""


COMMANDS_AND_CODES = {
    "devices": 0,
    "profile mobilevitv2-0.5": 0,
    "validate width": 0,
    "status none": 2,
    SEARCH: 4,
    "export mobilevitv2-0.5": 4,
    "measure few.yaml --device host": 4,
    "bench models --device host": 4,
    "verify few.onnx --against few.yaml": 0,
}


@pytest.mark.slow
def test_without_posix_nothing_is_a_traceback(tmp_path):
    write_images(tmp_path / "images", {"a": 20, "b": 20})
    (tmp_path / "few.yaml").write_text(arch_yaml(FEW, []))
    exported(FEW, tmp_path, format="onnx").path.rename(tmp_path / "few.onnx")
    commands = json.dumps([command.split() for command in COMMANDS_AND_CODES])
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_POSIX, commands],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    for (command, code), (found, said) in zip(COMMANDS_AND_CODES.items(), json.loads(done.stdout), strict=True):
        assert found == code, (command, said)
        assert "Traceback" not in said
        if code == 4:
            assert said.startswith("error: "), command
            assert "Linux or macOS" in said
