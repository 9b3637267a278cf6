"""Options and arguments that several commands have."""

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from mvit2_search.records import DEFAULT_FORMULATION, FORMULATION_NAMES

_SHOWN = 40  # letters of what is too long


class Place(click.ParamType):  # type: ignore[type-arg]  # click 8.1 takes none
    """A path, or a name that may stand instead. No shell expands the `~` in `--results=~/out`."""

    def __init__(self, kind: type[str] | type[Path] = str) -> None:
        self.name = "text" if kind is str else "path"  # in the help
        self._kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | Path:
        expanded = os.path.expanduser(value)  # noqa: PTH111 (it may be no path)
        if os.fspath(expanded).startswith("~"):
            self.fail(f"{value!r}: no such user; ./{value} is a file of that name", param, ctx)
        if _is_too_long(expanded):
            self.fail(f"'{os.fspath(value)[:_SHOWN]}...': longer than the name of a file may be", param, ctx)
        return self._kind(expanded)


def _is_too_long(path: str) -> bool:
    try:
        os.lstat(path)
    except OSError as err:
        return err.errno == errno.ENAMETOOLONG
    except ValueError:
        pass
    return False


FC = TypeVar("FC", bound=Callable[..., Any])


def option(name: str, default: Any, help: str, **more: Any) -> Callable[[FC], FC]:
    """An option with a default, which the help shows; its type is that of the default unless `type` is given."""
    return click.option(name, default=default, show_default=True, help=help, **more)


DATA_HELP = (
    "fashion-mnist-mini, or a folder: one sub-folder of images per class, WebDataset shards, or a saved Hugging "
    "Face data set."
)

TRAIN_DATA_HELP = (
    "fashion-mnist-mini, or a folder: one sub-folder of images per class, or train/ and val/ of such; WebDataset "
    "shards; or a saved Hugging Face data set."
)

study_argument = click.argument("study", type=Place())
results_option = option(
    "--results", Path("results"), "Folder that holds studies, latencies and exports.", type=Place(Path)
)
cache_option = option(
    "--cache-gb",
    10.0,
    "Gigabytes of decoded images that the results folder may keep, for this and other runs; 0: none.",
    type=click.FloatRange(0, 1e6),
    metavar="FLOAT",
)
device_option = option("--device", "auto", "Device to measure latency on; `mvit2-search devices` lists them.")
formulation_option = option(
    "--formulation",
    DEFAULT_FORMULATION,
    "Operators that the network is exported with. All formulations give the same outputs.",
    type=click.Choice(FORMULATION_NAMES),
)
TEACHER_OPTIONS = (
    click.option(
        "--teacher",
        type=Place(),
        help="Learn from a larger network of the same classes: an .onnx file, the folder of a training, or "
        "timm:NAME.",
    ),
    option("--teacher-temperature", 1.0, "Temperature of what the teacher says; above 1 it is less certain."),
    option(
        "--teacher-weight", 1.0, "Weight of the teacher in the loss, from 0 to 1; the rest is that of the labels."
    ),
)


def with_options(decorators: Sequence[Callable[[Any], Any]], command: FC) -> FC:
    """Several options, listed in the order of the decorators."""
    for decorator in reversed(decorators):
        command = decorator(command)
    return command


def check_teacher(teacher: str | None) -> None:
    """Raises UsageError where settings of a teacher are given without one."""
    for name in ("teacher_temperature", "teacher_weight") if teacher is None else ():
        if click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name.replace('_', '-')} needs --teacher")


classes_option = option("--classes", 1000, "Number of classes.", type=click.IntRange(min=1))
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def study_folder(study: str, results: Path) -> Path:
    """The folder of a study that was given by name, or by its own path."""
    path = Path(study)
    if (path / "study.db").is_file():
        return path.resolve() if path.name in ("", "..") else path  # the folder's name is the study's
    return path if len(path.parts) > 1 else results / study
