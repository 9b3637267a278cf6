"""The seam between a search and what trains for it, and trainings in this process.

Jobs and results are plain data, so that a worker may be in another process or on another machine. A worker sees
its own training only. Whether the next epoch is worth its time is decided by whoever submitted the job and knows
the other trainings; `Running.stop` is the message.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from mvit2_search.arch import ArchConfig
from mvit2_search.errors import TrainingError
from mvit2_search.execute.checks import checked_scores
from mvit2_search.task.data.dataset import Dataset
from mvit2_search.train.proxies import EpochScore, Part, Proxy

Ending = Literal["finished", "stopped", "failed"]


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

    ending: Ending
    scores: tuple[EpochScore, ...]
    failure: str = ""


class Running(Iterator[EpochScore]):
    """A training under way. Iterating gives the score after each epoch as it comes, and ends with the training.

    Errors that are no fault of the training (the disk, the images, a device that went away) are raised by
    iterating and by `result`. A failed training raises nothing: its result says so.

    Args:
        scores: raises TrainingError where the training fails.
    """

    def __init__(self, scores: Iterator[EpochScore]) -> None:
        self._scores = scores
        self._found: list[EpochScore] = []
        self._ending: Ending | None = None  # until it has ended
        self._failure = ""
        self._raised: BaseException | None = None

    def __next__(self) -> EpochScore:
        if self._raised is not None:
            raise self._raised
        if self._ending is not None:
            raise StopIteration
        try:
            score = next(self._scores)
        except StopIteration:
            self._ending = "finished"
            raise
        except TrainingError as err:
            self._ending, self._failure = "failed", str(err)
            raise StopIteration from err
        except BaseException as err:  # no fault of the training
            self._raised = err
            raise
        self._found.append(score)
        return score

    def stop(self) -> None:
        """Train no further epoch. No score comes after this; nothing happens if the training has ended."""
        self._ending = self._ending or "stopped"

    def result(self) -> TrainingResult:
        """Wait for the end."""
        while self._ending is None:
            next(self, None)
        return TrainingResult(ending=self._ending, scores=tuple(self._found), failure=self._failure)


class Executor(Protocol):
    """Something that runs trainings.

    Implementations promise:

    - Equal jobs give equal scores on one machine's CPU, whatever runs beside them.
    - Scores are accuracies from 0 to 100. What a proxy gives or raises instead is a failed training.
    - Jobs may be submitted while others run.
    """

    def submit(self, job: TrainingJob) -> Running: ...


class InlineExecutor:
    """Trains in this process, one epoch whenever the next score is asked for."""

    def __init__(self, proxy: Proxy, dataset: Dataset) -> None:
        self._proxy, self._dataset = proxy, dataset

    def submit(self, job: TrainingJob) -> Running:
        if (job.training, job.data) != (self._proxy.settings(), self._dataset.fingerprint):
            raise ValueError("the job asks for another training or other images than this executor has")
        run = self._proxy.run
        return Running(checked_scores(lambda: run(job.arch, self._dataset, seed=job.seed, test_on=job.part)))
