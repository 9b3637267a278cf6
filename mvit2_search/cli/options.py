"""Options that several commands have, and the one way to print.

All that a command prints: names of other people's folders and texts of other libraries are only ever shown.

Options and arguments that several commands have.
"""

import errno
import json
import os
import re
import shlex
import shutil
import sys
from dataclasses import fields
from io import TextIOWrapper
from pathlib import Path
from typing import Any, cast

import click

from mvit2_search.records import DEFAULT_FORMULATION, FORMULATION_NAMES, Recipe
from mvit2_search.system.text import printable


def say(*lines: str, err: bool = False) -> None:
    """Print each text on a line of its own, to stdout or stderr."""
    print(*map(printable, lines), sep="\n", file=sys.stderr if err else sys.stdout, flush=True)


def explain(*sentences: str, err: bool = False) -> None:
    """Print what the layers below say, with flags where their texts name settings."""
    say(*map(with_flags, sentences), err=err)


def with_flags(text: str) -> str:
    """The text with flags for settings in backticks: --latency-budget for `latency_budget`."""
    from mvit2_search.search.request import Request

    settings = {entry.name for kind in (Request, Recipe) for entry in fields(kind)} | {"pick", "trial"}
    return re.sub("`([a-z_]+)`", lambda m: f"--{m[1].replace('_', '-')}" if m[1] in settings else m[0], text)


def show_what_cannot_be_encoded() -> None:
    """Names that are not UTF-8, and letters that an ASCII terminal lacks, are written as escapes from now on."""
    for stream in _outputs():
        stream.reconfigure(errors="backslashreplace")


def give_up_broken_output() -> str | None:
    """The output that takes no line more, such as a file on a full disk; what waits for it is dropped."""
    for stream in _outputs():
        try:
            print(file=stream, flush=True)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            return stream.name.strip("<>")
    return None


def _outputs() -> list[TextIOWrapper]:
    return [
        cast(TextIOWrapper, stream) for stream in (sys.stdout, sys.stderr) if stream is not None
    ]  # None: closed


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
    except (OSError, ValueError) as err:
        return isinstance(err, OSError) and err.errno == errno.ENAMETOOLONG
    return False


results_option = click.option(
    "--results",
    type=Place(Path),
    default=Path("results"),
    show_default=True,
    help="Folder that holds the studies.",
)
device_option = click.option(
    "--device", default="auto", show_default=True, help="Where to time; `mvit2-search devices` lists them."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
formulation_option = click.option(
    "--formulation",
    type=click.Choice(FORMULATION_NAMES),
    default=DEFAULT_FORMULATION,
    show_default=True,
    help="How the exported network is written down.",
)
study_argument = click.argument("study", type=Place())


def study_folder(study: str, results: Path) -> Path:
    """The folder of a study that was given by name, or by its own path."""
    path = Path(study)
    if (path / "study.db").is_file():
        return path.resolve() if path.name in ("", "..") else path  # the folder's name is the study's
    return path if len(path.parts) > 1 else results / study


def program() -> str:
    """How this program was called, for commands that a user may copy."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return "python -m mvit2_search"
    found = shutil.which("mvit2-search")
    if found and called.exists() and Path(found).samefile(called):
        return "mvit2-search"
    return shlex.quote(os.path.relpath(called))


def echo_json(data: Any) -> None:
    """JSON in ASCII: what is no letter, a lone half of a pair too, stands as JSON writes it."""
    text = json.dumps(data, indent=2, allow_nan=False).replace("\x7f", "\\u007f")
    say(*text.split("\n"))
