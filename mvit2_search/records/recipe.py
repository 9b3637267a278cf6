"""How a network is trained: one kind of record for the short trainings of a search and for full ones."""

import reprlib
from dataclasses import dataclass, fields
from types import NoneType
from typing import Any, Literal, get_args, get_type_hints

from mvit2_search.errors import SpecError

Optimizer = Literal["adamw", "sgd"]
Decay = Literal["step", "epoch", "none"]

_RANGES: dict[str, tuple[float, float]] = {  # both ends may be had
    "epochs": (1, 1_000_000),
    "image_size": (32, 1e12),
    "test_crop": (0.1, 1),
    "images_per_epoch": (2, 1e12),
    "batch_size": (2, 1e7),
    "learning_rate": (1e-30, 1e30),
    "rate_batch": (1, 1e7),
    "weight_decay": (0, 1e3),
    "warmup_share": (0, 1),
    "warmup_rate": (0, 1e30),
    "final_share": (0, 1),
    "clip_norm": (1e-30, 1e30),
    "ema_momentum": (1e-9, 1),
    "label_smoothing": (0, 0.99),
    "crop_area": (1e-3, 1),
    "randaugment_ops": (0, 20),
    "randaugment_magnitude": (0, 30),
    "mixup": (0, 1e3),
    "cutmix": (0, 1e3),
    "erasing": (0, 1),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """The settings of a training. The defaults are those of a search's short trainings (docs/decisions.md).

    Attributes:
        test_crop: side of the central square that is tested, as a share of the image's short side.
        images_per_epoch: images drawn for an epoch; None for as many as there are to train on.
        batch_size: images of a step, all its processes and parts together.
        learning_rate: the largest one; None for the published one, by the size of the network.
        rate_batch: batch size that the learning rate is for. At another one it is scaled: by the ratio for SGD, by
            its square root for AdamW. None: never scaled.
        weight_decay: of weights with more than one axis; None for the published one.
        warmup_share: share of all steps in which the rate rises, linearly from `warmup_rate`.
        decay: step, a cosine from the end of the warm-up on; epoch, a cosine over whole epochs from the first; or
            none.
        final_share: share of the largest rate that the cosine ends at.
        ema_momentum: share of the weights in their moving average, each step; at least what averages over a fifth
            of all steps. None: an average over a tenth of all steps, an epoch at most.
        settle: test with batch statistics that are estimated anew.
        crop_area: smallest share of the image that a random crop keeps; 1 for none.
        randaugment_ops: operations on each image.
        randaugment_magnitude: from 0 to 30.
        mixup, cutmix: alphas of their Beta distributions; 0 for none. Of both, each batch gets one.
        erasing: share of the images of which a rectangle is erased.

    Raises:
        SpecError: a value makes no training.
    """

    epochs: int = 3
    image_size: int = 48
    test_crop: float = 1.0
    images_per_epoch: int | None = 1500
    batch_size: int = 32
    optimizer: Optimizer = "adamw"
    learning_rate: float | None = 2e-3
    rate_batch: int | None = None
    weight_decay: float | None = 0.05
    warmup_share: float = 0.1
    warmup_rate: float = 1e-4
    decay: Decay = "step"
    final_share: float = 0.0
    clip_norm: float = 10.0
    ema_momentum: float | None = None
    settle: bool = True
    label_smoothing: float = 0.1
    flip: bool = True
    crop_area: float = 1.0
    randaugment_ops: int = 0
    randaugment_magnitude: int = 9
    mixup: float = 0.0
    cutmix: float = 0.0
    erasing: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            if fault := recipe_fault(field.name, getattr(self, field.name)):
                raise SpecError(f"`{field.name}` {fault}")
        if self.images_per_epoch is not None and self.batch_size > self.images_per_epoch:
            raise SpecError(
                f"`batch_size` {self.batch_size}: more than the {self.images_per_epoch} of `images_per_epoch`"
            )

    @property
    def mixes(self) -> bool:
        """Whether images of a batch are mixed."""
        return self.mixup > 0 or self.cutmix > 0

    @property
    def source_size(self) -> int:
        """Side of the squares that images are read as."""
        return round(self.image_size / self.test_crop)


_KINDS: dict[str, tuple[Any, ...]] = {
    name: get_args(hint) or (hint,) for name, hint in get_type_hints(Recipe).items()
}


def recipe_fault(name: str, value: Any) -> str | None:
    """What is wrong with the value of a setting of `Recipe`, if anything."""
    kinds = _KINDS[name]
    if isinstance(kinds[0], str):  # the words of a Literal
        return None if value in kinds else f"{reprlib.repr(value)}: expected one of {', '.join(kinds)}"
    if bool in kinds:
        return None if isinstance(value, bool) else f"{reprlib.repr(value)}: expected true or false"
    if value is None and NoneType in kinds:
        return None
    low, high = _RANGES[name]
    is_number = isinstance(value, int if int in kinds else int | float) and not isinstance(value, bool)
    if is_number and low <= value <= high:
        return None
    if int in kinds:
        return f"{reprlib.repr(value)}: expected a whole number from {low:,.0f} to {high:,.0f}"
    return f"{reprlib.repr(value)}: expected a number from {low:g} to {high:g}"
