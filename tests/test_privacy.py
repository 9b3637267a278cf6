"""No command asks for a socket, and none writes a file outside of the results: dependencies included."""

import importlib.util
import json
import os
import shutil
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from click.testing import CliRunner

from conftest import write_images
from exports import ONE, exported
from fakes import keep_full_trainings, request, search
from mvit2_search.arch.config import arch_yaml
from mvit2_search.cli import COMMANDS, cli
from mvit2_search.cli.bench import bench
from mvit2_search.cli.proxy import proxy
from mvit2_search.measure.protocol import THIS_COMPUTER
from mvit2_search.store.lease import device_lock_path, locked
from mvit2_search.system.files import acquire
from watched import Watched, run_watched

TESTS = Path(__file__).parent
TIMING_LOCK = device_lock_path(THIS_COMPUTER)  # before each test gets one of its own
QUICK = ["--epochs", "1", "--images-per-epoch", "8", "--batch-size", "4", "--image-size", "32", "--trials", "1"]
HOST, SPACE = ["--device", "host"], ["--space", "space.yaml"]
SEARCH = ["run", *SPACE, "--data", "images", "--latency-budget", "999ms", "--study", "new"]
PROBLEM = ["--problems", "zdt1", "--seeds", "1"]
CHECK = [
    *("--space", "blocks", "--data", "images", "--latency-budget", "mobilevitv2-0.75", "--study", "trusted"),
    *("--device", "estimate:iphone12", "--epochs", "1", "--images-per-epoch", "8", "--batch-size", "8"),
    *("--image-size", "32"),
]
CALLS = {  # in a folder with images, an architecture, its file in each format, and a study
    "run": [
        *("run", "--space", "width", "--data", "images", "--latency-budget", "999ms"),
        *("--max-params", "1500000", "--study", "new"),
        *(*QUICK, *HOST),
    ],
    "status": ["status", "test"],
    "report": ["report", "test"],
    "export": ["export", "one.yaml", "--format", "onnx"],
    "export to Core ML": ["export", "one.yaml", "--format", "mlpackage"],
    "export to Core AI": ["export", "one.yaml", "--format", "aimodel"],
    "export to ExecuTorch": ["export", "one.yaml", "--format", "pte"],
    "train": [
        *("train", "one.yaml", "--data", "images", "--out", "results/trained"),
        *("--epochs", "1", "--batch-size", "8", "--image-size", "32"),
    ],
    "evaluate": ["evaluate", "results/trained", "--data", "images"],
    "proxy check": ["proxy", "check", *CHECK, "--networks", "9", "--truth-epochs", "2"],
    "proxy tune": ["proxy", "tune", *CHECK, "--target-tau", "-1", "--try-epochs", "1", "--try-images", "8"],
    "proxy trained": ["proxy", "trained", "trained"],
    "devices": ["devices"],
    "measure": ["measure", "one.yaml", *HOST],
    "profile": ["profile", "one.yaml"],
    "verify": ["verify", "results/one.onnx", "--against", "one.yaml"],
    "verify for Core ML": ["verify", "results/one.mlpackage", "--against", "one.yaml"],
    "validate": ["validate", "blocks"],
    "bench models": ["bench", "models", *HOST],
    "bench attention": ["bench", "attention", *HOST],
    "bench rank": [
        *("bench", "rank", "--against", "estimate:iphone12", "--space", "width", "--networks", "0", *HOST),
    ],
    "predictor.py": ["predictor.py", *SPACE, "--measured", "4", "--held-out", "1", *HOST],
    "samplers.py": [
        *("samplers.py", "--problems", "zdt1", "--seeds", "1", "--evaluations", "10", "--jobs", "2"),
        *("--peers", "front,tpe"),
    ],
}
NEEDS = {"export to Core AI": "coreai_torch", "export to ExecuTorch": "executorch"}


def environment(home, temporary):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ORT_", "TORCH"))}
    return {
        **kept,
        "HOME": str(home),
        "USER": "user",  # as a login sets it; without it, the C library asks a local service who that is
        "TMPDIR": str(temporary),
        "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS.parent / 'benchmarks'}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture
def desk(tmp_path):
    """A home and a temporary folder, both empty, and a folder to work in."""
    for name in ("home", "temporary", "work"):
        (tmp_path / name).mkdir()
    return tmp_path


def watched(desk: Path, *command: str) -> Watched:
    """What a command of Python's does. Without the filter, only what it leaves is looked at."""
    command, env = [sys.executable, *command], environment(desk / "home", desk / "temporary")
    try:
        return run_watched(command, env=env, cwd=desk / "work")
    except OSError as err:
        subprocess.run(command, env=env, cwd=desk / "work", check=True)
        assert [*(desk / "home").iterdir(), *(desk / "temporary").iterdir()] == []
        pytest.skip(f"nothing is left in the home and temporary folders; more cannot be watched here: {err}")


def outside(done: Watched, desk: Path) -> list[Path]:
    """What was written elsewhere than to the results, and to places for temporary files for longer than it ran."""
    temporary = desk / "temporary"

    def is_outside(path: Path) -> bool:
        if path.is_relative_to(desk / "work" / "results") or path == temporary or path.is_char_device():
            return False
        shared = path.is_relative_to("/dev/shm") or (path.is_relative_to("/tmp") and not path.is_relative_to(desk))
        return is_left(path) or not (shared or path.is_relative_to(temporary))

    return list(filter(is_outside, done.written))


def is_left(path: Path, timing_lock: Path = TIMING_LOCK) -> bool:
    """Whether it is still there, and not because another process of this computer times a network right now."""
    if path != timing_lock:
        return path.exists()
    try:
        with path.open() as lock:
            return acquire(lock.fileno())
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with images, an architecture, its files, and a study."""
    folder = tmp_path_factory.mktemp("prepared")
    write_images(folder / "images", {"blue": 20, "red": 20})
    (folder / "space.yaml").write_text(
        "name: small\nsettings:\n  width: {range: [0.25, 0.5]}\n  attention_layers: 1\n  image_size: 32\n"
    )
    (folder / "one.yaml").write_text(arch_yaml(ONE, []))
    for form in ("onnx", "mlpackage"):
        made = exported(ONE, folder / "results", format=form)
        made.path.rename(folder / "results" / f"one.{form}")
    search(request(folder))
    keep_full_trainings(search(request(folder, study="trained", trials=7, confirm_seeds=1)))
    return folder


def test_a_lock_that_another_process_holds_is_not_left_by_a_command(tmp_path):
    path = tmp_path / "timing.lock"
    with locked(path, on_wait=print):
        assert not is_left(path, path)
    assert not is_left(path, path)
    path.touch()
    assert is_left(path, path)


def is_installed(module: str | None) -> bool:
    return module is None or importlib.util.find_spec(module) is not None


def test_every_command_is_watched():
    groups = {"bench": bench, "proxy": proxy}
    names = COMMANDS.keys() - groups.keys()
    assert names | {f"{group} {name}" for group in groups for name in groups[group].commands} <= CALLS.keys()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("timing")
def test_commands_ask_for_no_socket_and_write_to_the_results_alone(desk, prepared):
    """One after another in one process. What one of them does stands between its name and the next one."""
    calls = {name: words for name, words in CALLS.items() if is_installed(NEEDS.get(name))}
    shutil.copytree(prepared, desk / "work", dirs_exist_ok=True)
    done = watched(desk, str(TESTS / "quick.py"), json.dumps(calls))
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name for path in done.written} >= calls.keys()
    assert (done.sockets, outside(done, desk)) == ([], []), done.written


@pytest.mark.slow
def test_importing_the_package_tells_torch_nothing(desk):
    """Somebody's notebook may compile with torch: into the place that torch chooses."""
    code = "import os; before = dict(os.environ); import mvit2_search.api, mvit2_search.models; "
    code += "print(sorted(os.environ.items() - before.items()))"
    env = environment(desk / "home", desk / "temporary")
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert "TORCHINDUCTOR_CACHE_DIR" not in done.stdout


def test_what_torch_compiles_in_a_command_is_where_not_everybody_may_write(monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    assert CliRunner().invoke(cli, ["--version"]).exit_code == 0
    folder = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    assert folder.is_dir()
    assert not folder.stat().st_mode & stat.S_IWOTH


def test_a_folder_that_the_user_names_for_it_stays(monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "mine")
    CliRunner().invoke(cli, ["--version"])
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "mine"


def test_what_a_library_or_a_child_does_is_seen(desk):
    """The check above can fail: C's functions, another process, a file that is gone at the end."""
    code = """
        import ctypes, pathlib, subprocess, sys, tempfile
        libc = ctypes.CDLL(None)
        libc.socket(10, 2, 0)
        libc.open(b"left", 0o1101, 0o600)
        home = pathlib.Path.home()
        (home / "gone").touch()
        (home / "gone").unlink()
        subprocess.run([sys.executable, "-c", "import socket; socket.socket(); open('child', 'w')"])
        tempfile.NamedTemporaryFile().close()
        pathlib.Path("results").mkdir()
        open("results/kept", "w")
        open("/dev/null", "w")
        tempfile.mkstemp(prefix="forgotten")
    """
    done = watched(desk, "-c", textwrap.dedent(code))
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.sockets) == ["AF_INET", "AF_INET6"]
    found = {path.relative_to(desk).as_posix()[:19] for path in outside(done, desk)}
    assert found == {"work/left", "work/child", "home/gone", "temporary/forgotten"}
