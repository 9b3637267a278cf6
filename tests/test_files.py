"""What killed exports leave is removed by the next one; what others are writing stays."""

import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

import mvit2_search.export.untrained as untrained
from fakes import fake_exporter, request, search
from mvit2_search.arch import published
from mvit2_search.cli import cli
from mvit2_search.errors import StorageError
from mvit2_search.system.files import locked_folder, scratch_folder

HOLDS = """
import sys, time
from pathlib import Path
from mvit2_search.system.files import scratch_folder
with scratch_folder(Path(sys.argv[1])) as scratch:
    (scratch / "half.onnx").touch()
    print(scratch, flush=True)
    time.sleep(60)
"""
KEY = published("mobilevitv2-0.5").key


@pytest.fixture
def other(tmp_path):
    """A process that writes to `tmp_path` at the moment; where it does is in `other.scratch`."""
    process = subprocess.Popen([sys.executable, "-c", HOLDS, tmp_path], stdout=subprocess.PIPE, text=True)
    process.scratch = process.stdout.readline().strip()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def inside(folder):
    return {str(path) for path in folder.iterdir()}


def test_a_scratch_folder_stays_while_its_process_runs_and_goes_after_a_kill(tmp_path, other):
    with scratch_folder(tmp_path) as own:
        assert inside(tmp_path) == {other.scratch, str(own)}
    assert inside(tmp_path) == {other.scratch}
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert inside(tmp_path) == {other.scratch}
    with locked_folder(tmp_path):
        assert inside(tmp_path) == set()


def test_files_that_are_no_scratch_folders_stay(tmp_path):
    (tmp_path / "tmp.txt").touch()
    (tmp_path / "mine").mkdir()
    with scratch_folder(tmp_path):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"tmp.txt", "mine"}


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write"), scratch_folder(tmp_path / "file" / "exports"):
        pass


def run(*arguments):
    ran = CliRunner().invoke(cli, ["export", *map(str, arguments)])
    assert ran.exit_code == 0, ran.output
    return ran.output.strip()


@pytest.fixture
def instant(monkeypatch):
    monkeypatch.setattr(untrained, "export_untrained", fake_exporter)


@pytest.mark.parametrize("more", [(), ("--format", "onnx")])
def test_the_next_export_removes_what_a_killed_one_left(tmp_path, instant, more):
    folder = tmp_path / "exports" / KEY
    (folder / "tmpk1ll3d").mkdir(parents=True)
    run("mobilevitv2-0.5", "--results", tmp_path, *more)
    assert not list(folder.glob("tmp*"))


@pytest.mark.slow
def test_the_next_export_of_a_study_does_too(tmp_path, images, instant):
    study = search(request(tmp_path))
    key = study.trials()[0].arch.key
    (study.folder / "exports" / key / "tmpk1ll3d").mkdir(parents=True)
    run("test", "--trial", 0, "--results", study.folder.parent)
    assert [path.name for path in (study.folder / "exports" / key).iterdir()] == ["architecture.yaml"]


@pytest.mark.slow
def test_a_killed_export_leaves_nothing_after_the_next(tmp_path):
    command = [sys.executable, "-m", "mvit2_search", "export", "mobilevitv2-0.5", "--results", tmp_path]
    folder = tmp_path / "exports" / KEY
    process = subprocess.Popen([*command, "--format", "onnx"])
    while not list(folder.glob("tmp*")):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert list(folder.glob("tmp*"))
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert [path.name for path in folder.iterdir()] == ["architecture.yaml"]


@pytest.mark.slow
def test_other_numbers_of_classes_have_files_of_their_own(tmp_path, instant):
    usual = run("mobilevitv2-0.5", "--results", tmp_path, "--format", "onnx")
    assert usual.endswith("untrained-pixel_unshuffle.onnx")
    assert run("mobilevitv2-0.5", "--results", tmp_path, "--format", "onnx", "--classes", 1000) == usual
    written = {run("mobilevitv2-0.5", "--results", tmp_path, "--format", "onnx", "--classes", n) for n in (10, 7)}
    assert {path.rsplit("/", 1)[1] for path in written} == {
        "untrained-pixel_unshuffle-10-classes.onnx",
        "untrained-pixel_unshuffle-7-classes.onnx",
    }
    assert len(list((tmp_path / "exports" / KEY).glob("*.onnx"))) == 3


@pytest.mark.slow
def test_the_usual_classes_of_a_study_are_its_own(tmp_path, images, instant):
    search(request(tmp_path))
    told = ("test", "--results", tmp_path / "results", "--format", "onnx")
    assert run(*told) == run(*told, "--classes", 2)
    assert run(*told, "--classes", 1000).endswith("untrained-pixel_unshuffle-1000-classes.onnx")
