"""Where numbers come in: what a proxy or a device gives is checked, and what it raises is that trial's failure.

This package's errors that are no trial's fault (the disk, the images, a device that went away) pass through and
end the run, as do Ctrl-C and SIGTERM.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice

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
from mvit2_search.latencies import Latencies
from mvit2_search.latency import Device, TimingPlan
from mvit2_search.proxies import EpochScore
from mvit2_search.records import Artifact, Latency, Passport, Samples, accuracy_fault, latency_fault, time_fault

_FATAL = (SpecError, StudyConflict, DataError, StorageError, BackendUnavailable)
_PAUSE_S = 0.5  # between two looks at whether to stop


@contextmanager
def failures_as(error: type[TrainingError] | type[MeasurementError]) -> Iterator[None]:
    """Whatever goes wrong within is an `error`, with its class and its first line."""
    try:
        yield
    except (error, *_FATAL):
        raise
    except (Exception, SystemExit, GeneratorExit) as err:
        raise error(f"{type(err).__name__}: {first_line(err)}") from err


def checked_scores(run: Callable[[], Iterable[EpochScore]]) -> Iterator[EpochScore]:
    """The score after each epoch of a proxy.

    Raises:
        TrainingError: there is none, one holds no accuracy, or the proxy failed.
    """
    found = False
    with failures_as(TrainingError):
        scores = iter(run())
    while True:
        with failures_as(TrainingError):
            following = [_checked_score(score) for score in islice(scores, 1)]
        if not following:
            break
        found = True
        yield following[0]  # out here, where whoever wants no more scores ends it
    if not found:
        raise TrainingError("it ended without a score")


def _checked_score(score: EpochScore) -> EpochScore:
    balanced = score.balanced_pct
    fault = accuracy_fault(score.accuracy_pct)
    if balanced is not None:
        fault = fault or accuracy_fault(balanced)
    if fault:
        raise TrainingError(f"{fault}, after epoch {score.epoch}")
    return replace(
        score,
        accuracy_pct=float(score.accuracy_pct),
        balanced_pct=None if balanced is None else float(balanced),
    )


def checked(latencies: Latencies) -> Latencies:
    """The same, with MeasurementError instead of a latency that cannot be one.

    Raises:
        MeasurementError: what the reference takes is none.
    """
    if fault := time_fault(latencies.reference_ms):
        raise MeasurementError(fault)

    def of(arch: ArchConfig) -> Latency:
        with failures_as(MeasurementError):
            return _checked(latencies.of(arch))

    return replace(latencies, of=of)


def _checked(latency: Latency) -> Latency:
    if fault := latency_fault(latency):
        raise MeasurementError(fault)
    return latency


class CheckedDevice:
    """A device whose every failure in timing is a MeasurementError, and that looks at whether to stop.

    Args:
        stop_if_asked: called before and after each visit and in pauses; raises where the run has to end.
    """

    def __init__(self, device: Device, stop_if_asked: Callable[[], None]) -> None:
        self.format = device.format
        self.pause: Callable[[float], None] = self._pause
        self._device = device
        self._stop_if_asked = stop_if_asked

    def check(self) -> None:
        self._device.check()

    def passport(self) -> Passport:
        return self._device.passport()

    def time(self, candidate: Artifact, reference: Artifact, plan: TimingPlan) -> Samples:
        self._stop_if_asked()
        try:
            with failures_as(MeasurementError):
                return self._device.time(candidate, reference, plan)
        finally:
            self._stop_if_asked()  # what ends this process may have ended the device's own processes first

    def _pause(self, seconds: float) -> None:
        left = seconds
        while left > 0:
            self._device.pause(min(left, _PAUSE_S))
            self._stop_if_asked()
            left -= _PAUSE_S
