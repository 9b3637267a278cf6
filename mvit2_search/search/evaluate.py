"""What becomes of one architecture: its latency first, then, if it is worth it, its accuracy."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

from mvit2_search.arch import ArchConfig
from mvit2_search.complexity import network_cost
from mvit2_search.data import Dataset
from mvit2_search.errors import MeasurementError, TrainingError
from mvit2_search.interrupt import Interrupt
from mvit2_search.latencies import Latencies
from mvit2_search.proxies import EpochScore, Proxy
from mvit2_search.records import Failed, Finished, Infeasible, Latency, Outcome, Stopped
from mvit2_search.search.events import Listener
from mvit2_search.search.kept import KeptAccuracies
from mvit2_search.search.seam import checked_scores
from mvit2_search.verdict import Limits

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
    ) -> None:
        self.latencies = latencies
        self.kept = kept
        self._interrupt = interrupt
        self._dataset = dataset
        self._proxy = proxy
        self._limits = limits
        self._seed = seed
        self._listener = listener
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
            return Infeasible(latency=latency)
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

    def have_at_hand(self, latencies: Iterable[tuple[ArchConfig, Latency]]) -> None:
        """Latencies that were found out before and not used: they are not found out again."""
        self._found |= {arch.key: latency for arch, latency in latencies}

    def confirm(self, arch: ArchConfig, seed: int) -> EpochScore:
        """The last score on the confirmation images, or what another study has; raises TrainingError."""
        if (arch.key, seed) in self.kept.scores:
            return self.kept.scores[arch.key, seed]
        return list(self._epochs(arch, seed, "confirmation"))[-1]

    def _trained(self, arch: ArchConfig, latency: Latency, should_stop: ShouldStop | None) -> Finished | Stopped:
        kept = self.kept.curves.get(arch.key)
        if kept is not None and kept.whole:
            return _finished(kept.scores, latency)
        if kept is not None and (stopped := _followed(kept.scores, latency, should_stop))[1]:
            return Stopped(curve_pct=_curve(stopped[0]), latency=latency)
        scores, is_stopped = _followed(self._epochs(arch, self._seed, "selection"), latency, should_stop)
        if is_stopped:
            return Stopped(curve_pct=_curve(scores), latency=latency)
        return _finished(scores, latency)

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


def _finished(scores: Sequence[EpochScore], latency: Latency) -> Finished:
    last = scores[-1]
    return Finished(
        accuracy_pct=last.accuracy_pct,
        curve_pct=_curve(scores),
        latency=latency,
        balanced_pct=last.balanced_pct,
    )


def _curve(scores: Sequence[EpochScore]) -> tuple[float, ...]:
    return tuple(score.accuracy_pct for score in scores)
