"""Where numbers come in: what a proxy or a device gives is checked, and what it raises is one trial's failure.

Errors of this package that are no trial's fault (the disk, the images, a device that went away) pass through and
end the run, as do Ctrl-C and SIGTERM.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from mvit2_search.arch import ArchConfig
from mvit2_search.errors import (
    BackendUnavailable,
    DataError,
    MeasurementError,
    SpecError,
    StorageError,
    StudyConflict,
    TrainingError,
    first_line,
)
from mvit2_search.measure.protocol import Device, TimingPlan
from mvit2_search.measure.source import Latencies
from mvit2_search.records import Artifact, Latency, Samples, score_fault, time_fault
from mvit2_search.train.proxies import EpochScore

_FATAL = (SpecError, StudyConflict, DataError, StorageError, BackendUnavailable)
_PAUSE_S = 0.5  # between two looks at whether to stop


@contextmanager
def failures_as(error: type[TrainingError] | type[MeasurementError]) -> Iterator[None]:
    """Turns any exception into an `error` that names its class and its first line."""
    try:
        yield
    except (error, *_FATAL):
        raise
    except (Exception, SystemExit, GeneratorExit) as err:
        raise error(f"{type(err).__name__}: {first_line(err)}") from err


def checked_scores(run: Callable[[], Iterable[EpochScore]]) -> Iterator[EpochScore]:
    """The scores of a proxy.

    Raises:
        TrainingError: there is none, one is not an accuracy, or the proxy failed.
    """
    found = False
    with failures_as(TrainingError):
        scores = map(_checked_score, run())
    while True:
        with failures_as(TrainingError):
            score = next(scores, None)
        if score is None:
            break
        found = True
        yield score  # outside of `failures_as`: an exception thrown in here is the caller's
    if not found:
        raise TrainingError("it ended without a score")


def _checked_score(score: EpochScore) -> EpochScore:
    balanced = score.balanced
    fault = score_fault(score.score) or (None if balanced is None else score_fault(balanced))
    if fault:
        raise TrainingError(f"{fault}, after epoch {score.epoch}")
    return replace(score, score=float(score.score), balanced=None if balanced is None else float(balanced))


def checked_latencies(latencies: Latencies) -> Latencies:
    """The same, but every failure to give a latency is a MeasurementError.

    Raises:
        MeasurementError: the latency of the reference is impossible.
    """
    if fault := time_fault(latencies.reference_ms):
        raise MeasurementError(fault)

    def of(arch: ArchConfig) -> Latency:
        with failures_as(MeasurementError):
            return latencies.of(arch)

    return replace(latencies, of=of)


class CheckedDevice:
    """A device whose every failure to time is a MeasurementError.

    Args:
        check_interrupt: called before and after each visit and during pauses; raises where the run has to end.
    """

    def __init__(self, device: Device, check_interrupt: Callable[[], None]) -> None:
        self.format, self.lease = device.format, device.lease
        self.check, self.passport = device.check, device.passport
        self._device = device
        self._check_interrupt = check_interrupt

    def time(self, candidate: Artifact, reference: Artifact, plan: TimingPlan) -> Samples:
        self._check_interrupt()
        try:
            with failures_as(MeasurementError):
                return self._device.time(candidate, reference, plan)
        finally:
            self._check_interrupt()  # a signal may have ended the device's own processes before this one

    def pause(self, seconds: float, /) -> None:
        left = seconds
        while left > 0:
            self._device.pause(min(left, _PAUSE_S))
            self._check_interrupt()
            left -= _PAUSE_S
