"""The seam between a search and what trains for it.

Jobs and results are plain data, so that a worker may be in another process or on another machine. A worker sees
its own training only. Whether the next epoch is worth its time is decided by whoever submitted the job and knows
the other trainings; `Running.stop` is the message.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from mvit2_search.arch import ArchConfig
from mvit2_search.train.proxies import EpochScore, Part


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingJob:
    """One training: all that its scores depend on.

    Attributes:
        training: the settings of the proxy.
        part: the images to score on.
        data: fingerprint of the images.
    """

    arch: ArchConfig
    training: Mapping[str, Any]
    seed: int
    part: Part
    data: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingResult:
    """How a training ended.

    Attributes:
        scores: after each epoch that was trained; at least one of a training that finished.
        failure: what went wrong, in one line, where it failed.
    """

    ending: Literal["finished", "stopped", "failed"]
    scores: tuple[EpochScore, ...]
    failure: str = ""


class Running(Iterator[EpochScore], Protocol):
    """A training under way. Iterating gives the score after each epoch as it comes, and ends with the training.

    Errors that are no fault of the training (the disk, the images, a device that went away) are raised by
    iterating and by `result`. A failed training raises nothing: its result says so.
    """

    def stop(self) -> None:
        """Train no further epoch. No score comes after this; nothing happens if the training has ended."""

    def result(self) -> TrainingResult:
        """Wait for the end."""


class Executor(Protocol):
    """Something that runs trainings.

    Implementations promise:

    - Equal jobs give equal scores on one machine's CPU, whatever runs beside them.
    - Scores are the task's metric, from 0 to 100. What a proxy gives or raises instead is a failed training.
    - Jobs may be submitted while others run.
    """

    def submit(self, job: TrainingJob) -> Running: ...
