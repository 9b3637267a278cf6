"""Filters harmless messages that native libraries write to stderr."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hushed(*notes: str) -> Iterator[None]:
    """Collect what is written to stderr, and pass on afterwards every line that contains none of `notes`.

    Native libraries write past Python's `sys.stderr`, so this redirects that of the whole process: keep it short.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            sys.stderr.writelines(line for line in held if not any(note in line for note in notes))
