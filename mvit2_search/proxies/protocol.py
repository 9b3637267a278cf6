"""The seam every accuracy passes through."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from mvit2_search.arch import ArchConfig
from mvit2_search.data import Dataset
from mvit2_search.space import SearchSpace


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochScore:
    """How good a candidate is after one epoch.

    Attributes:
        balanced_pct: the mean over the classes, where they are unbalanced and the proxy tells.
    """

    epoch: int
    accuracy_pct: float
    balanced_pct: float | None = None


class Proxy(Protocol):
    """Something that scores an architecture, better and better.

    Implementations promise:

    - `run` yields once per epoch, on confirmation images at least after the last. Not
      asking for the next one stops the training.
    - The last score is on all images of the part that is asked for, earlier ones may be on fewer.
    - Equal arguments give equal scores on one machine's CPU.
    """

    def run(
        self, arch: ArchConfig, dataset: Dataset, *, seed: int, test_on: Literal["selection", "confirmation"]
    ) -> Iterator[EpochScore]:
        """Raises TrainingError where no usable score comes out. A search takes any other exception, and what is no
        accuracy from 0 to 100, for the same."""

    def blind_spots(self, space: SearchSpace) -> list[str]:
        """What this proxy cannot tell apart, in sentences for the user.

        Raises:
            SpecError: the space moves a setting that makes no difference to this proxy at all.
        """

    def settings(self) -> dict[str, Any]:
        """Everything that the scores depend on, as JSON."""
