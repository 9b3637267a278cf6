"""What a stopping rule sees, and what it promises."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """An earlier training of the same recipe.

    Attributes:
        scores: after each epoch, as far as it was trained.
        finished: whether it was trained to the end.
        allowed: whether its network is within the limits; only then can it be on the front.
    """

    scores: tuple[float, ...]
    latency_ms: float
    finished: bool
    allowed: bool = True


class StoppingRule(Protocol):
    """Decides after each epoch whether a candidate's training goes on.

    Attributes:
        stops_dominated: whether a stopped training is expected to end below a network that is as fast.

    Implementations promise:

    - Nothing is stopped before one training has finished, which shows how many epochs there are, nor after the
      last epoch.
    - Equal arguments, equal answer; the order of `past` does not matter.
    """

    stops_dominated: bool

    def should_stop(self, scores: Sequence[float], latency_ms: float, past: Sequence[Curve]) -> bool:
        """Whether to end the training now.

        Args:
            scores: of the candidate after each epoch so far, at least one.
            latency_ms: of the candidate.
            past: all earlier trainings, including stopped ones.
        """


class NeverStop:
    """Trains everything to the end."""

    stops_dominated = False

    def should_stop(self, scores: Sequence[float], latency_ms: float, past: Sequence[Curve]) -> bool:
        return False


def epochs_of(past: Sequence[Curve]) -> int:
    """Number of epochs of a whole training; 0 if none has finished."""
    return max((len(curve.scores) for curve in past if curve.finished), default=0)
