"""Saved networks, run by the libraries that they are for: exports are compared by these, and devices time them."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def filtered_stderr(*harmless: str) -> Iterator[None]:
    """Hold back stderr inside the block; afterwards print the lines that contain none of `harmless`.

    This is the stderr of the whole process, so keep the block short.
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
            sys.stderr.writelines(line for line in held if not any(text in line for text in harmless))
