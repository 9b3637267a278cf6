"""All that a command prints: names of other people's folders and texts of other libraries are only ever shown."""

import os
import sys
from io import TextIOWrapper
from typing import cast

from mvit2_search.printable import printable


def say(*lines: str, err: bool = False) -> None:
    """Print each text on a line of its own, to stdout or stderr."""
    print(*map(printable, lines), sep="\n", file=sys.stderr if err else sys.stdout, flush=True)


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
