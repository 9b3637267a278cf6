"""What commands print. Names that other people chose and texts of other libraries cannot act on the terminal."""

import json
import math
import os
import re
import shlex
import shutil
import sys
from dataclasses import fields
from io import TextIOWrapper
from pathlib import Path
from typing import Any, cast

from mvit2_search.records import Recipe
from mvit2_search.system.text import printable


def say(*lines: str, err: bool = False) -> None:
    """Print each text on a line of its own, to stdout or stderr."""
    print(*map(printable, lines), sep="\n", file=sys.stderr if err else sys.stdout, flush=True)


def explain(*sentences: str, err: bool = False) -> None:
    """Print texts of the layers below, which name settings, with the flags of the command line."""
    say(*map(with_flags, sentences), err=err)


def with_flags(text: str) -> str:
    """The text with flags for settings in backticks: --latency-budget for `latency_budget`."""
    from mvit2_search.search.request import Request

    settings = {entry.name for kind in (Request, Recipe) for entry in fields(kind)}
    settings |= {"pick", "trial", "out", "init", "recipe", "precision", "accumulate"}
    settings |= {"networks", "band", "truth_seeds", "truth_recipe", "truth_epochs", "target_tau"}
    return re.sub("`([a-z_]+)`", lambda m: f"--{m[1].replace('_', '-')}" if m[1] in settings else m[0], text)


def echo_json(data: Any) -> None:
    """Print JSON in ASCII, with escapes for control characters and lone surrogates."""
    text = json.dumps(data, indent=2, allow_nan=False).replace("\x7f", "\\u007f")
    say(*text.split("\n"))


def finite(value: object) -> object:
    """For JSON: null instead of an infinity or what is not a number."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def escape_unencodable() -> None:
    """From now on, names that are not UTF-8 and letters that the terminal lacks are written as escapes."""
    for stream in _outputs():
        stream.reconfigure(errors="backslashreplace")


def give_up_broken_output() -> str | None:
    """Send the output that accepts no more, such as a file on a full disk, to nowhere; its name."""
    for stream in _outputs():
        try:
            print(file=stream, flush=True)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            return stream.name.strip("<>")
    return None


def _outputs() -> list[TextIOWrapper]:
    return cast(list[TextIOWrapper], [stream for stream in (sys.stdout, sys.stderr) if stream is not None])


def program() -> str:
    """How this program was called, for commands that a user may copy."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return "python -m mvit2_search"
    found = shutil.which("mvit2-search")
    if found and called.exists() and Path(found).samefile(called):
        return "mvit2-search"
    return shlex.quote(os.path.relpath(called))
