"""What networks are fed while they are timed."""

from typing import Any

import numpy as np
from PIL import Image

from mvit2_search.records import Precision


def random_input(*, shape: tuple[int, ...], precision: Precision, kind: str = "tensor") -> Any:
    """Values drawn evenly from an input's range, the same every time: `x_1CHW`, or an image.

    Never zeros: with them, every feature map is constant and the arithmetic draws less power.
    """
    rng = np.random.default_rng(0)
    if kind == "image":
        _, channels, height, width = shape
        return Image.fromarray(rng.integers(0, 256, (height, width, channels), dtype=np.uint8))
    return rng.random(shape, dtype=np.float32).astype(precision)
