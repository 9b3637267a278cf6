"""What reaches a terminal or a file: names that other people chose, and outputs that take nothing."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from conftest import write_images
from exports import FEW
from mvit2_search.arch import ArchConfig
from mvit2_search.arch.config import arch_yaml, read_arch
from mvit2_search.cli import cli
from mvit2_search.system.files import write_atomically
from mvit2_search.system.text import printable

ROOT = Path(__file__).parent.parent
RED, RIGHT_TO_LEFT = "\x1b[31m", "\u202e"
ESTIMATE = "estimate:iphone12"
HOSTILE = f"{RED}red\n{RIGHT_TO_LEFT}deb\x07"
SHOWN = r"\x1b[31mred\n\u202edeb\x07"


def search(folder, **environment):
    """The command of a search that ends at once, as nothing is within its budget, and its environment."""
    data = ["--data", folder / "images", "--results", folder / "results"]
    budget = ["--device", ESTIMATE, "--latency-budget", "0.001ms"]
    command = [sys.executable, "-m", "mvit2_search", "run", "--space", "width", "--study", "s", *data, *budget]
    quick = [
        "--image-size",
        "32",
        "--trials",
        "1",
        "--epochs",
        "1",
        "--images-per-epoch",
        "8",
        "--batch-size",
        "4",
    ]
    return [*map(str, command), *quick], {**os.environ, **environment}


def with_classes(folder, *names):
    try:
        write_images(folder / "images", dict.fromkeys(names, 20))
    except OSError as err:
        pytest.skip(f"this file system takes no such names: {err}")


def test_what_a_terminal_would_act_on_is_shown():
    assert printable(HOSTILE) == SHOWN
    assert printable("\x9b1m \x7f \t \u2028 \u200b \udcff") == r"\x9b1m \x7f \t \u2028 \u200b \udcff"
    assert printable("Grüße 中文 क्\u200dष") == "Grüße 中文 क्\u200dष"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_class_names_do_nothing_to_a_terminal(tmp_path):
    import pty

    with_classes(tmp_path, HOSTILE, "plain")
    command, environment = search(tmp_path, TERM="xterm", COLUMNS="400")
    terminal, end = pty.openpty()
    with subprocess.Popen(command, env=environment, stdin=end, stdout=end, stderr=end) as process:
        os.close(end)
        printed = read_all(terminal)
    assert process.returncode == 1, printed
    assert RED not in printed
    assert RIGHT_TO_LEFT not in printed
    assert SHOWN in printed


def read_all(terminal):
    chunks = []
    while True:
        try:
            chunks.append(os.read(terminal, 65536))
        except OSError:  # Linux: nobody is left at the other end
            break
        if not chunks[-1]:
            break
    os.close(terminal)
    return b"".join(chunks).decode()


@pytest.mark.slow
def test_names_that_an_output_cannot_hold_are_escaped(tmp_path):
    latin = os.fsdecode(b"h\xf6he")  # a name of before UTF-8
    with_classes(tmp_path, latin, "Größe")
    command, environment = search(tmp_path, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 1, done.stderr
    assert done.stderr == ""
    assert r"h\udcf6he" in done.stdout
    assert r"Gr\xf6\xdfe" in done.stdout
    study = tmp_path / "results" / "s"
    assert [path for path in study.iterdir() if path.suffix == ".tmp"] == []
    data = yaml.safe_load((study / "study.yaml").read_text(encoding="utf-8"))["inputs"]["data"]
    assert set(data["classes"]) == {latin, "Größe"}
    assert "</html>" in (study / "report.html").read_text(encoding="utf-8")
    assert json.loads(CliRunner().invoke(cli, ["status", str(study), "--json"]).stdout)["study"] == "s"


@pytest.mark.parametrize(
    "arguments",
    [
        ["validate", "{}"],
        ["status", "{}"],
        ["status", "s", "--results", "{}"],
        ["export", "{}"],
        ["profile", "{}.yaml"],
        ["measure", "{}", "--device", ESTIMATE],
        ["measure", "mobilevitv2-0.5", "--device", "{}"],
        ["measure", "mobilevitv2-0.5", "--classes", "{}"],
        ["verify", "{}.onnx", "--against", "mobilevitv2-0.5"],
        ["run", "--space", "width", "--data", "{}", "--latency-budget", "{}", "--study", "s"],
        ["run", "--space", "{}", "--data", "fashion-mnist-mini", "--latency-budget", "1ms", "--study", "s"],
        ["bench", "rank", "--device", ESTIMATE, "--against", ESTIMATE, "--space", "{}"],
        ["bench", "rank", "--device", "{}", "--against", "cache:{}"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize(
    "name",
    [HOSTILE, os.fsdecode(b"\xff"), "é", "x" * 5000],
    ids=["hostile", "no UTF-8", "no ASCII", "long"],
)
def test_an_error_is_one_line_whatever_it_names(tmp_path, monkeypatch, arguments, name):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, [argument.format(name) for argument in arguments])
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code in (2, 4)
    assert re.fullmatch(r"(Usage: .*\n.*\n\n)?[Ee]rror: .+\n", done.stderr), done.stderr
    assert printable(done.stderr, keep="\n") == done.stderr


def test_what_the_system_refuses_unexpectedly_is_one_line_with_a_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = "/".join(["d" * 250] * 16)  # which is as long as a path may be: no study is in it
    done = CliRunner().invoke(cli, ["status", "s" * 100, "--results", results])
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == 4
    assert re.fullmatch(r"error: d+/.+: File name too long\n", done.stderr), done.stderr


def test_a_purpose_is_shown(tmp_path):
    (tmp_path / "space.yaml").write_text(
        'name: "\\e[31mmine"\npurpose: "to\\e[31m\\nthe \\u202etfel"\nsettings:\n  width: {range: [0.5, 1.0]}\n'
    )
    done = CliRunner().invoke(cli, ["validate", str(tmp_path / "space.yaml")])
    assert done.exit_code == 0
    assert r"to\x1b[31m\nthe \u202etfel" in done.stdout.splitlines()
    assert RED not in done.stdout


def test_a_name_stays_within_its_comment(tmp_path, monkeypatch):
    """An architecture's file says where it comes from, and can be read again whatever that is called."""
    monkeypatch.chdir(tmp_path)
    arch = ArchConfig.mobilevitv2(0.5)
    Path(f"a\nimage_size: 64\n{RED}{os.fsdecode(bytes([255]))}.yaml").write_text(arch_yaml(arch, []))
    (given,) = tmp_path.glob("*.yaml")
    done = CliRunner().invoke(cli, ["export", str(given), "--json"])
    assert done.exit_code == 0, done.output
    assert read_arch(Path(json.loads(done.stdout)["path"])) == arch


@pytest.mark.slow
def test_a_network_can_be_written_to_any_folder(tmp_path):
    (tmp_path / "few.yaml").write_text(arch_yaml(FEW, []))
    results = tmp_path / os.fsdecode(b"r\xff")
    try:
        results.mkdir()
    except OSError as err:
        pytest.skip(f"this file system takes no such names: {err}")
    command = ["export", str(tmp_path / "few.yaml"), "--format", "onnx", "--results", str(results)]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.output
    (path,) = results.glob("exports/*/*.onnx")
    assert CliRunner().invoke(cli, ["verify", str(path), "--against", str(tmp_path / "few.yaml")]).exit_code == 0


def test_json_of_any_name_is_json(tmp_path):
    path = tmp_path / "\x7f\x1b\u202e.yaml"
    path.write_text("name: mine\nsettings:\n  width: {range: [0.5, 1.0]}\n")
    done = CliRunner().invoke(cli, ["validate", str(path), "--json"])
    assert json.loads(done.stdout)["file"] == str(path)
    assert re.fullmatch(r"[ -~\n]+", done.stdout)


def test_a_command_prints_in_one_way():
    """What is printed otherwise is not made printable."""
    sources = [path for path in (ROOT / "mvit2_search").rglob("*.py") if path.name != "output.py"]
    printing = {path.name for path in sources if re.search(r"\b(click\.s?echo|print)\(", path.read_text())}
    assert printing == {"progress.py", "training_progress.py"}  # by rich, which says so itself


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", "text")
    assert list(tmp_path.iterdir()) == []
