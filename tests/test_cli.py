"""The command line as a user meets it."""

import ast
import json
import re
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import click
import onnx
import pytest
import yaml

import mvit2_search
from commands import invoke, run_arguments
from fakes import FormulaProxy, request, search
from mvit2_search.arch import ArchConfig
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.cli import COMMANDS, cli
from mvit2_search.cli.output import with_flags
from mvit2_search.errors import MVit2SearchError
from mvit2_search.models import build_model
from mvit2_search.store import driver_lock

ROOT = Path(__file__).parent.parent


@pytest.fixture
def study(tmp_path, images):
    return search(request(tmp_path)).folder


def command_names(command=cli, prefix=""):
    """Every command as it is typed, those of groups too."""
    context = click.Context(command)
    for name in command.list_commands(context):
        yield f"{prefix}{name}"
        inner = command.get_command(context, name)
        if isinstance(inner, click.Group):
            yield from command_names(inner, f"{prefix}{name} ")


@pytest.mark.parametrize("name", list(command_names()))
def test_every_command_has_an_example(name):
    printed = invoke(*name.split(), "--help").output
    assert "Example:" in printed
    assert f"mvit2-search {name}" in printed


def test_the_commands_of_groups_are_found():
    benches = {"bench models", "bench attention", "bench rank"}
    proxies = {"proxy check", "proxy trained", "proxy tune"}
    assert {*COMMANDS, *benches, *proxies} == set(command_names())


def test_the_reference_is_what_help_says():
    reference = runpy.run_path(str(ROOT / "scripts" / "write_cli_reference.py"))["reference"]
    assert (ROOT / "docs" / "cli.md").read_text() == reference()


def test_help_imports_nothing_heavy():
    code = (
        "import sys, mvit2_search.cli, mvit2_search.cli.run, mvit2_search.cli.bench\n"
        "heavy = {'torch', 'optuna', 'plotly', 'pandas', 'coremltools', 'scipy', 'numpy'}\n"
        "sys.exit(str(heavy & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == "set()"


def test_the_exit_codes_in_help_are_those_of_the_errors():
    codes = {error.__name__: error.exit_code for error in MVit2SearchError.__subclasses__()}
    assert codes == {
        "SpecError": 2,
        "StudyConflict": 3,
        "DataError": 4,
        "StorageError": 4,
        "BackendUnavailable": 4,
        "MeasurementError": 4,
        "TrainingError": 1,
    }


def test_validate_says_what_a_space_holds():
    result = invoke("validate", "blocks")
    assert result.exit_code == 0
    assert "space 'blocks' is valid, 10 settings to search" in result.output
    assert re.search(r"stage1.width +0.5 to 2\n", result.output)
    assert json.loads(invoke("validate", "width", "--json").output)["axes"] == {"width": {"low": 0.5, "high": 2.0}}


def test_validate_names_file_line_and_key_and_exits_2(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nsettings:\n  widht: {range: [0.5, 2.0]}\n")
    result = invoke("validate", path)
    assert result.exit_code == 2
    assert result.stderr == f"error: {path}:3:3: settings.widht: unknown key; did you mean 'width'?\n"


@pytest.mark.slow
def test_profile_counts_published_and_exported_architectures(study):
    rows = json.loads(invoke("profile", "mobilevitv2-1.0", "--json").output)["parts"]
    assert rows[-1] == {"part": "total", "params": 4901841, "macs": 1812090880, "other_ops": rows[-1]["other_ops"]}
    assert sum(row["params"] for row in rows[:-1]) == 4901841
    path = invoke("export", study).output.strip()
    params = sum(
        p.numel()
        for p in build_model(
            ArchConfig.from_json(yaml.safe_load(Path(path).read_text())), ClassifierHead(2)
        ).parameters()
    )
    table = invoke("profile", path, "--classes", 2)
    assert re.search(rf"total +{params:,} ", table.output)


def test_profile_of_what_is_not_there_exits_2():
    assert "expected one of mobilevitv2-0.5" in invoke("profile", "mobilevitv2-9").stderr
    assert invoke("profile", "nothing.yaml").exit_code == 2


@pytest.mark.slow
def test_status_report_and_export_read_a_study(study):
    by_name = invoke("status", "test", "--results", study.parent)
    assert by_name.output == invoke("status", study).output
    assert (
        "4 candidates trained, 8 trials in total; finished: the candidates asked for (4) are trained."
        in by_name.output
    )
    status = json.loads(invoke("status", study, "--json").output)
    exported = json.loads(invoke("export", study, "--json").output)
    assert [status["export"][name] for name in ("trial", "key", "params")] == [
        exported[name] for name in ("trial", "key", "params")
    ]
    assert Path(exported["path"]).is_file()
    assert Path(invoke("report", study).output.strip()).read_text().startswith("<!doctype html>")
    assert invoke("export", study, "--trial", 0).output.endswith("architecture.yaml\n")


def test_one_is_not_called_several(run_with_fakes, tmp_path):
    """One epoch, candidate, random architecture and seed."""

    class OneEpoch(FormulaProxy):
        def run(self, *arguments, **named):
            yield replace(list(super().run(*arguments, **named))[-1], epoch=1)

    ones = ("--trials", "1", "--confirm-seeds", "1", "--control", "1", "--image-size", "32")
    said = [run_with_fakes(*ones, proxy=OneEpoch()).output]
    folder = tmp_path / "results" / "test"
    said.append((folder / "report.html").read_text().partition("</script>")[2])
    for words in (("status", folder), ("profile", "mobilevitv2-0.5", "--classes", 1)):
        said.append(invoke(*words).output)
    assert "1 candidate trained, " in said[2]
    assert "; 1 random network trained for comparison; finished: " in said[2]
    for text in said:
        assert not re.search(
            r"(?<![\d.,])1 (\w+ )?(candidate|trial|training|epoch|score|network|architecture|classe|seed)s\b", text
        )


@pytest.mark.slow
def test_a_network_is_exported_in_the_formulation_asked_for(study):
    convolutions = []
    for formulation in ("layer_norm", "sum_first"):
        command = ("export", study, "--trial", 0, "--format", "onnx", "--formulation", formulation)
        path = Path(invoke(*command).output.strip())
        assert path.name == f"untrained-{formulation}.onnx"
        nodes = onnx.load(path).graph.node
        convolutions.append(sum(node.op_type == "Conv" for node in nodes))
    assert convolutions[1] - convolutions[0] == 2 * 9  # score, key and value apart, in nine layers
    assert {entry.name for entry in path.parent.iterdir()} == {
        "architecture.yaml",
        "untrained-layer_norm.onnx",
        "untrained-sum_first.onnx",
    }


@pytest.mark.slow
def test_a_formulation_is_for_networks(study):
    result = invoke("export", study, "--formulation", "rank5")
    assert result.exit_code == 2
    assert "--formulation needs --format onnx, mlpackage, aimodel, pte" in result.stderr


@pytest.mark.slow
def test_one_seed_is_still_json(tmp_path, images):
    study = search(request(tmp_path, confirm_seeds=1))
    text = invoke("status", study.folder, "--json").output
    gain = json.loads(text, parse_constant=pytest.fail)["gain_points"]
    assert (gain["low"], gain["high"], gain["seeds"]) == (None, None, 1)


@pytest.mark.parametrize("command", ["status", "report", "export"])
def test_a_study_that_is_not_there_exits_2(tmp_path, command):
    result = invoke(command, "none", "--results", tmp_path)
    assert result.exit_code == 2
    assert "no study here" in result.stderr


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"space": "block"}, 2, "did you mean 'blocks'?"),
        ({"latency-budget": "quick"}, 2, "--latency-budget: expected a time such as 12ms"),
        ({"study": "../up"}, 2, "expected up to 64 letters"),
        ({"device": "tpu"}, 2, "expected auto, host, executorch, coreml"),
        ({"train-on": "tpu"}, 2, "expected auto, cpu, mps, cuda"),
        ({"data": "nowhere"}, 4, "nowhere: no such folder"),
        ({"seed": "x"}, 2, "Invalid value for '--seed'"),
        ({"seed": 2**70}, 2, "--seed 1180591620717411303424: expected from 0 to"),
        ({"learning-rate": "nan"}, 2, "--learning-rate nan: expected a number"),
    ],
)
def test_wrong_input_is_one_line_and_a_code(tmp_path, images, changes, code, message):
    result = invoke(*run_arguments(tmp_path, **changes))
    assert result.exit_code == code
    assert message in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.slow
def test_a_study_in_use_exits_3(tmp_path, images):
    with driver_lock(tmp_path / "results" / "one"):
        result = invoke(*run_arguments(tmp_path))
    assert result.exit_code == 3
    assert re.search(r"study 'one' is in use by process \d+ on ", result.stderr)


@pytest.mark.slow
def test_a_study_whose_lock_file_was_deleted_is_still_in_use(tmp_path, images):
    folder = tmp_path / "results" / "one"
    with driver_lock(folder):
        (folder / "driver.lock").unlink()
        result = invoke(*run_arguments(tmp_path))
        assert result.exit_code == 3
        assert "study 'one' is in use" in result.stderr
        renamed = folder.rename(folder.with_name("two"))
        result = invoke(*run_arguments(tmp_path, study="two"))
        assert (result.exit_code, renamed.is_dir()) == (3, True)


def test_settings_in_messages_are_shown_as_flags():
    text = "`latency_budget` 0ms, a class `names`, `trial`, `mvit2-search run`, `image_size 3`"
    assert with_flags(text) == "--latency-budget 0ms, a class `names`, --trial, `mvit2-search run`, `image_size 3`"


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--trials", 0, "--trials 0: expected at least 1"),
        ("--confirm-seeds", 0, "--confirm-seeds 0: expected at least 1"),
        ("--max-hours", 0, "--max-hours 0.0: expected more than 0"),
        ("--sampler", "best", "--sampler 'best': expected one of front, "),
        ("--stopping", "hope", "--stopping 'hope': expected one of dominance, "),
        ("--latency-budget", "0ms", "--latency-budget '0ms': expected more than 0 ms"),
        ("--device", "toaster", "--device 'toaster': expected auto, "),
        ("--train-on", "toaster", "--train-on 'toaster': expected auto, "),
    ],
)
def test_a_wrong_value_is_told_with_the_option_as_it_is_typed(tmp_path, option, value, message):
    given = {"--space": "width", "--data": tmp_path, "--latency-budget": "9ms", "--study": "one"}
    given |= {"--results": tmp_path / "results", "--device": "estimate:iphone12", option: value}
    result = invoke("run", *(word for pair in given.items() for word in pair))
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {message}")


def test_only_commands_spell_flags():
    """Below them, messages name settings. What other programs are told keeps their flags."""
    package = Path(mvit2_search.__file__).parent
    for path in package.rglob("*.py"):
        if path.is_relative_to(package / "cli"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                flags = set(re.findall(r"--[a-z][a-z-]*", node.value))
                assert flags <= {"--storage", "--study-name", "--force-reinstall", "--only-binary"}, path
