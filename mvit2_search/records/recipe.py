"""The settings of a training."""

from dataclasses import dataclass

from mvit2_search.errors import SpecError


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """AdamW with linear warm-up and cosine decay to zero, stepped every batch.

    The defaults are for the short trainings of a search; docs/decisions.md has the figures behind them.

    Raises:
        SpecError: a value makes no training.
    """

    epochs: int = 3
    image_size: int = 48
    images_per_epoch: int = 1500
    batch_size: int = 32
    learning_rate: float = 2e-3
    flip: bool = True
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    warmup_share: float = 0.1
    clip_norm: float = 10.0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.image_size < 32 or not 0 < self.learning_rate < 1e38:
            raise SpecError(
                "training needs at least 1 epoch, images of at least 32 pixels and a learning rate above 0"
            )
        if not 2 <= self.batch_size <= self.images_per_epoch:
            raise SpecError(
                f"batch size {self.batch_size}: expected from 2 to the {self.images_per_epoch} images per epoch"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches that hold at least `images_per_epoch` images."""
        return -(-self.images_per_epoch // self.batch_size)

    @property
    def max_images(self) -> int:
        """Images drawn in a whole training: a larger data set is not used up."""
        return self.epochs * self.steps_per_epoch * self.batch_size
