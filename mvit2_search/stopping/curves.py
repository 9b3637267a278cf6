"""The trainings that stopping rules look at."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import NamedTuple, Self

from mvit2_search.arch import ArchConfig
from mvit2_search.records import Finished, Limits, Stopped, Trial


class Size(NamedTuple):
    """What a network is, as far as it may decide how fast it learns.

    Attributes:
        macs, params: multiply-adds and parameters, by their logarithm.
        layers: inverted residuals and attention layers.
    """

    macs: float
    params: float
    layers: float

    @classmethod
    def of(cls, arch: ArchConfig, *, macs: int, params: int) -> Self:
        layers = sum(arch.attention_layers) + sum(map(len, arch.expanded_channels))
        return cls(macs=log(macs), params=log(params), layers=layers)


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """A training.

    Attributes:
        scores: after each epoch, as far as it was trained.
        finished: whether it was trained to the end.
        allowed: whether its network is within the limits; only then can it be on the front.
    """

    scores: tuple[float, ...]
    latency_ms: float
    size: Size
    finished: bool = False
    allowed: bool = True


def curves_of(trials: Sequence[Trial], limits: Limits) -> list[Curve]:
    """All trainings, each once."""
    return [
        Curve(
            scores=trial.outcome.curve,
            latency_ms=trial.outcome.latency.latency_ms,
            size=Size.of(trial.arch, macs=trial.macs, params=trial.params),
            finished=isinstance(trial.outcome, Finished),
            allowed=limits.allow_trial(trial),
        )
        for trial in trials
        if isinstance(trial.outcome, Finished | Stopped) and trial.repeats is None
    ]


def epochs_of(past: Sequence[Curve]) -> int:
    """Number of epochs of a whole training; 0 if none has finished."""
    return max((len(curve.scores) for curve in past if curve.finished), default=0)


def lot(seed: int, arch_key: str) -> float:
    """From 0 up to 1, by chance, but always the same for one architecture in the studies of one seed."""
    return int(hashlib.sha256(f"{seed} {arch_key}".encode()).hexdigest()[:8], 16) / 2**32
