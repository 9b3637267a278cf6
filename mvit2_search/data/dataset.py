"""A data set in memory, in the three parts that a search needs.

Shape letters: N images, S side in pixels, C channels (1 grey, 3 RGB).
"""

from dataclasses import dataclass

import numpy as np

_UNBALANCED = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Square images of one size with their classes, in an order that mixes the classes."""

    pixels_NSSC: np.ndarray  # uint8
    labels_N: np.ndarray  # int64

    def __len__(self) -> int:
        return len(self.labels_N)

    def first(self, count: int) -> "Split":
        """The first `count` images, or all where there are fewer."""
        return Split(pixels_NSSC=self.pixels_NSSC[:count], labels_N=self.labels_N[:count])


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """Networks train on `train`, the search selects by `selection`, `confirmation` it never sees.

    Attributes:
        fingerprint: of the files in use, whatever the size they were loaded at.
        notes: what a user should know, for instance the images that did not open.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    selection: Split
    confirmation: Split
    fingerprint: str
    notes: tuple[str, ...] = ()

    @property
    def images_per_class(self) -> list[int]:
        """In the order of the classes, all parts together."""
        labels = np.concatenate([part.labels_N for part in (self.train, self.selection, self.confirmation)])
        return [int(count) for count in np.bincount(labels, minlength=len(self.classes))]

    @property
    def is_unbalanced(self) -> bool:
        """Whether the largest class has twice the images of the smallest, of which accuracy then says little."""
        counts = self.images_per_class
        return max(counts) >= _UNBALANCED * min(counts)
