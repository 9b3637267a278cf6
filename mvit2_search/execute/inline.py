"""Trainings in this process."""

from collections.abc import Iterator
from typing import Literal

from mvit2_search.errors import TrainingError
from mvit2_search.execute.checks import checked_scores
from mvit2_search.execute.protocol import Running, TrainingJob, TrainingResult
from mvit2_search.task.data.dataset import Dataset
from mvit2_search.train.proxies import EpochScore, Proxy


class InlineExecutor:
    """Trains one epoch whenever the next score is asked for."""

    def __init__(self, proxy: Proxy, dataset: Dataset) -> None:
        self._proxy, self._dataset = proxy, dataset

    def submit(self, job: TrainingJob) -> Running:
        if (job.training, job.data) != (self._proxy.settings(), self._dataset.fingerprint):
            raise ValueError("the job asks for another training or other images than this executor has")
        return _InlineTraining(
            checked_scores(lambda: self._proxy.run(job.arch, self._dataset, seed=job.seed, test_on=job.part))
        )


class _InlineTraining:
    def __init__(self, scores: Iterator[EpochScore]) -> None:
        self._scores = scores
        self._found: list[EpochScore] = []
        self._ending: Literal["finished", "stopped", "failed"] | None = None  # until it has ended
        self._failure = ""
        self._raised: BaseException | None = None

    def __iter__(self) -> Iterator[EpochScore]:
        return self

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
        self._ending = self._ending or "stopped"

    def result(self) -> TrainingResult:
        while self._ending is None:
            next(self, None)
        return TrainingResult(ending=self._ending, scores=tuple(self._found), failure=self._failure)
