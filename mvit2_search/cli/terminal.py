"""All that a command prints: names of other people's folders and texts of other libraries are only ever shown."""

import os
import sys
import unicodedata
from io import TextIOWrapper
from typing import cast

_JOINERS = "\u200c\u200d"  # which the letters of several scripts need


def printable(text: str, *, keep: str = "") -> str:
    """One line, in which whatever a terminal would act on stands as Python writes it: `\\x1b`, `\\n`, `\\u202e`.

    Args:
        keep: characters that stay as they are.
    """
    return "".join(c if c in keep or not _is_hidden(c) else c.encode("unicode_escape").decode() for c in text)


def say(*lines: str, err: bool = False) -> None:
    """Print each text on a line of its own, to stdout or stderr."""
    print(*map(printable, lines), sep="\n", file=sys.stderr if err else sys.stdout, flush=True)


def show_what_cannot_be_encoded() -> None:
    """Names that are not UTF-8, and letters that an ASCII terminal lacks, are written as escapes from now on."""
    for stream in _outputs():
        stream.reconfigure(errors="backslashreplace")


def give_up_broken_outputs() -> list[str]:
    """Names of outputs that take nothing more, such as a file on a full disk. What waits for them is dropped."""
    broken = []
    for stream in _outputs():
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            broken.append(stream.name.strip("<>"))
    return broken


def _is_hidden(character: str) -> bool:
    """Whether it is a control, a format such as a change of direction, half of a pair, the end of a line."""
    kind = unicodedata.category(character)
    return (kind.startswith("C") or kind in ("Zl", "Zp")) and character not in _JOINERS


def _outputs() -> list[TextIOWrapper]:
    return [
        cast(TextIOWrapper, stream) for stream in (sys.stdout, sys.stderr) if stream is not None
    ]  # None: closed
