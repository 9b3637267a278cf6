"""The workflows cannot run here, but what they call can be checked."""

import re
import shlex
from pathlib import Path

import click
import pytest
import yaml

from mvit2_search.cli import cli
from mvit2_search.measure.devices.registry import DEVICES

ROOT = Path(__file__).parents[1]
WORKFLOWS = {
    path.name: yaml.safe_load(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / ".github/workflows").glob("*.yml"))
}
STEPS = [step for flow in WORKFLOWS.values() for job in flow["jobs"].values() for step in job["steps"]]


def commands(step):
    """The calls of mvit2-search in a step, without what the shell makes of their output."""
    lines = step.get("run", "").splitlines()
    calls = [line.split("bin/mvit2-search ")[1] for line in lines if "bin/mvit2-search " in line]
    return [re.split(r"[>|;]", call)[0] for call in calls]


CALLS = [call for step in STEPS for call in commands(step)]


@pytest.mark.parametrize("call", CALLS)
def test_each_call_has_a_command_and_its_options(call):
    command, words = cli, shlex.split(call)
    with click.Context(cli, help_option_names=["-h", "--help"]) as context:  # click remembers them
        while isinstance(command, click.Group):
            name = words.pop(0)
            command = command.get_command(context, name)
            assert command is not None, f"there is no command {name}"
        command.make_context(name, words, parent=context)  # parses and does not run


def test_calls_are_found():
    assert {call.split()[0] for call in CALLS} == {"devices", "measure", "bench", "run"}


def test_each_requirement_is_one_that_tests_know():
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("*.py"))
    names = {name for flow in WORKFLOWS.values() for name in flow["env"]}
    assert names
    assert all(f'"{name}"' in tests for name in names)
    for flow in WORKFLOWS.values():
        assert set(flow["env"]["MVIT2_REQUIRE_DEVICES"].split(",")) <= DEVICES.keys()


def test_the_files_and_targets_that_are_called_exist():
    run = "\n".join(step.get("run", "") for step in STEPS)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(
        re.search(rf"^{target}:", makefile, re.MULTILINE) for target in re.findall(r"^make (\w+)", run, re.M)
    )
    files = re.findall(r"tests/\w+\.py", run)
    assert files
    assert all((ROOT / name).is_file() for name in files)


def test_a_call_with_an_unknown_option_is_refused():
    with pytest.raises(click.UsageError, match="No such option"):
        test_each_call_has_a_command_and_its_options("bench models --devise coreml")
