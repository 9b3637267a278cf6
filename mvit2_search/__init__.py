"""Search for MobileViTv2-style networks under a latency budget."""

import os
from contextlib import suppress
from tempfile import gettempdir

with suppress(OSError):  # nowhere to write to: whoever has to will say so
    # torch leaves a folder for what it compiles in the temporary folder; nothing is compiled here
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", gettempdir())
