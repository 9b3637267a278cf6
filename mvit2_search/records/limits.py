"""What an architecture must stay within."""

from dataclasses import dataclass

from mvit2_search.records.latency import Latency
from mvit2_search.records.trial import Trial


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What an architecture must stay within."""

    latency_ms: float
    max_params: int | None

    def allow(self, latency: Latency, params: int) -> bool:
        """Whether a network of this latency and so many parameters is within."""
        return latency.latency_ms <= self.latency_ms and (self.max_params is None or params <= self.max_params)

    def allow_trial(self, trial: Trial) -> bool:
        """Whether a trial was timed and is within."""
        return trial.latency is not None and self.allow(trial.latency, trial.params)
