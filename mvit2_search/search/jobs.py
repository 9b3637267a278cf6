"""The two jobs of a search, measuring one architecture and training one. They keep no state."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mvit2_search.arch import ArchConfig
from mvit2_search.execute.protocol import Executor, Running, TrainingJob
from mvit2_search.measure.source import Latencies
from mvit2_search.records import Latency
from mvit2_search.search.events import Listener
from mvit2_search.system.process import Interrupt
from mvit2_search.train.proxies import EpochScore, Part


@dataclass(frozen=True, kw_only=True, slots=True)
class Jobs:
    """Measures and trains.

    Attributes:
        training, data: the proxy's settings and the fingerprint of the images, for every training.
    """

    latencies: Latencies
    executor: Executor
    training: Mapping[str, Any]
    data: str
    listener: Listener
    interrupt: Interrupt

    def measure(self, arch: ArchConfig) -> Latency:
        """Raises MeasurementError where there is no latency."""
        self.interrupt.check()
        self.listener.working("finding the latency")
        return self.latencies.of(arch)

    def train(self, arch: ArchConfig, *, seed: int, part: Part) -> Running:
        """A training that begins; `follow` gives its scores."""
        self.interrupt.check()
        self.listener.working("training")
        job = TrainingJob(arch=arch, training=self.training, seed=seed, part=part, data=self.data)
        return self.executor.submit(job)

    def follow(self, running: Running) -> Iterator[EpochScore]:
        """The scores of a training as they come, each told to the listener. Stops it where the run has to end."""
        try:
            for score in running:
                self.interrupt.check()
                self.listener.working(f"training, epoch {score.epoch}: {score.score:.1f} %")
                yield score
            if running.result().ending == "failed":
                self.interrupt.check()  # a signal may have ended the training's own processes before this one
        finally:
            running.stop()
