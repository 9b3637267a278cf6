"""One visit from inside, for every device: what the networks are fed, and how they take turns."""

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from mvit2_search.measure.protocol import TimingPlan
from mvit2_search.records import Precision, Samples


def random_input(*, shape: tuple[int, ...], precision: Precision, kind: str = "tensor") -> Any:
    """Values drawn evenly from an input's range, the same every time: `x_1CHW`, or an image.

    Never zeros: with them, every feature map is constant and the arithmetic draws less power.
    """
    rng = np.random.default_rng(0)
    if kind == "image":
        _, channels, height, width = shape
        return Image.fromarray(rng.integers(0, 256, (height, width, channels), dtype=np.uint8))
    return rng.random(shape, dtype=np.float32).astype(precision)


def take_turns(
    candidate_ms: Callable[[], float], reference_ms: Callable[[], float], *, plan: TimingPlan, load_ms: float
) -> Samples:
    """Warm both up, then time pairs of bursts of `plan.unit` passes: whatever slows the machine slows both.

    Every timed burst follows an untimed pass of the same network. Without it, the reference takes 19 %
    longer beside a large candidate, which pushes it out of the processor's caches, than beside itself.
    """
    for _ in range(plan.warmup):
        candidate_ms()
        reference_ms()
    candidate: list[float] = []
    reference: list[float] = []
    for _ in range(plan.pairs_per_visit):
        for run, samples in ((candidate_ms, candidate), (reference_ms, reference)):
            run()
            samples.extend(run() for _ in range(plan.unit))
    return Samples(candidate_ms=tuple(candidate), reference_ms=tuple(reference), unit=plan.unit, load_ms=load_ms)
