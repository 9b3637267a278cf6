"""What becomes of one architecture: its latency first, then, if it is worth it, its accuracy.

Where numbers come in: what a proxy or a device gives is checked, and what it raises is that trial's failure.

This package's errors that are no trial's fault (the disk, the images, a device that went away) pass through and
end the run, as do Ctrl-C and SIGTERM.

What becomes of one architecture: its latency first, then, if it is worth it, its accuracy.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Literal

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.cost import network_cost
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
from mvit2_search.records import (
    Artifact,
    Failed,
    Finished,
    Infeasible,
    Latency,
    Limits,
    Outcome,
    Passport,
    Probe,
    Samples,
    Stopped,
    score_fault,
    time_fault,
)
from mvit2_search.search.device_change import KeptAccuracies
from mvit2_search.search.events import Listener
from mvit2_search.system.signals import Interrupt
from mvit2_search.task.data.dataset import Dataset
from mvit2_search.train.proxies import EpochScore, Proxy

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
    fault = score_fault(score.accuracy_pct)
    if balanced is not None:
        fault = fault or score_fault(balanced)
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
            return latencies.of(arch)

    return replace(latencies, of=of)


class CheckedDevice:
    """A device whose every failure in timing is a MeasurementError, and that looks at whether to stop.

    Args:
        stop_if_asked: called before and after each visit and in pauses; raises where the run has to end.
    """

    def __init__(self, device: Device, stop_if_asked: Callable[[], None]) -> None:
        self.format, self.lease = device.format, device.lease
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


ShouldStop = Callable[[Sequence[float], float], bool]
"""Whether to stop, of the accuracies after each epoch so far and the latency in ms."""


class Evaluator:
    """Turns architectures into outcomes."""

    def __init__(
        self,
        latencies: Latencies,
        dataset: Dataset,
        *,
        proxy: Proxy,
        limits: Limits,
        seed: int,
        listener: Listener,
        interrupt: Interrupt,
        kept: KeptAccuracies,
        device: str,
    ) -> None:
        self.latencies = latencies
        self.kept = kept
        self._interrupt = interrupt
        self._dataset = dataset
        self._proxy = proxy
        self._limits = limits
        self._seed = seed
        self._listener = listener
        self._device = device
        self._found: dict[str, Latency] = {}  # by key, of networks that are no trial yet

    def outcome(
        self, arch: ArchConfig, *, train_anyway: bool = False, should_stop: ShouldStop | None = None
    ) -> Outcome:
        """Time `arch` and, within the limits or where `train_anyway`, train it with the search's seed.

        Args:
            should_stop: asked after each epoch; the training ends where it says so.
        """
        try:
            latency = self.latency(arch)
            del self._found[arch.key]
        except MeasurementError as err:
            return Failed(reason="measurement", message=str(err))
        params = network_cost(arch, len(self._dataset.classes)).params
        if not (train_anyway or self._limits.allow(latency, params)):
            return Infeasible(latencies=self._by_device(latency))
        try:
            return self._trained(arch, latency, should_stop)
        except TrainingError as err:
            return Failed(reason="training", message=str(err))

    def latency(self, arch: ArchConfig) -> Latency:
        """What `arch` takes, found out once for each time that it is used; raises MeasurementError."""
        self._interrupt.check()
        if arch.key not in self._found:
            self._listener.working("finding the latency")
            self._found[arch.key] = self.latencies.of(arch)
        return self._found[arch.key]

    def have_at_hand(self, probes: Iterable[Probe]) -> None:
        """Latencies that were found out before and not used: they are not found out again."""
        self._found |= {probe.arch.key: probe.latency for probe in probes}

    def confirm(self, arch: ArchConfig, seed: int) -> EpochScore:
        """The last score on the confirmation images, or what another study has; raises TrainingError."""
        if (arch.key, seed) in self.kept.scores:
            return self.kept.scores[arch.key, seed]
        return list(self._epochs(arch, seed, "confirmation"))[-1]

    def _by_device(self, latency: Latency) -> dict[str, Latency]:
        return {self._device: latency}

    def _trained(self, arch: ArchConfig, latency: Latency, should_stop: ShouldStop | None) -> Finished | Stopped:
        kept = self.kept.curves.get(arch.key)
        if kept is not None and kept.whole:
            return _finished(kept.scores, self._by_device(latency))
        if kept is not None and (stopped := _followed(kept.scores, latency, should_stop))[1]:
            return Stopped(curve=_curve(stopped[0]), latencies=self._by_device(latency))
        scores, is_stopped = _followed(self._epochs(arch, self._seed, "selection"), latency, should_stop)
        if is_stopped:
            return Stopped(curve=_curve(scores), latencies=self._by_device(latency))
        return _finished(scores, self._by_device(latency))

    def _epochs(
        self, arch: ArchConfig, seed: int, test_on: Literal["selection", "confirmation"]
    ) -> Iterator[EpochScore]:
        """The score after each epoch; what is not asked for is not trained."""
        self._interrupt.check()
        self._listener.working("training")
        scores = checked_scores(lambda: self._proxy.run(arch, self._dataset, seed=seed, test_on=test_on))
        try:
            for score in scores:
                self._interrupt.check()
                self._listener.working(f"training, epoch {score.epoch}: {score.accuracy_pct:.1f} %")
                yield score
        except TrainingError:
            self._interrupt.check()  # what ends this process may have ended the training's own processes first
            raise


def _followed(
    scores: Iterable[EpochScore], latency: Latency, should_stop: ShouldStop | None
) -> tuple[list[EpochScore], bool]:
    """The scores up to where the training is stopped, and whether it is."""
    found: list[EpochScore] = []
    for score in scores:
        found.append(score)
        if should_stop is not None and should_stop(_curve(found), latency.latency_ms):
            return found, True
    return found, False


def _finished(scores: Sequence[EpochScore], latencies: dict[str, Latency]) -> Finished:
    last = scores[-1]
    return Finished(
        score=last.accuracy_pct,
        curve=_curve(scores),
        latencies=latencies,
        balanced=last.balanced_pct,
    )


def _curve(scores: Sequence[EpochScore]) -> tuple[float, ...]:
    return tuple(score.accuracy_pct for score in scores)
