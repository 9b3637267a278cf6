"""From a proposal to a trial on disk."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic

from mvit2_search.arch import ArchConfig
from mvit2_search.complexity import network_cost
from mvit2_search.errors import MVit2SearchError
from mvit2_search.records import Failed, Finished, Outcome, Stopped, Trial
from mvit2_search.search.evaluate import Evaluator
from mvit2_search.search.events import Listener
from mvit2_search.search.stopping import Curve, StoppingRule
from mvit2_search.space import SearchSpace
from mvit2_search.store import Proposal, Study
from mvit2_search.verdict import Limits

_INTERRUPTED = "interrupted"
_MAX_FAILURES = 5  # in a row, for the same reason
_MAX_TRIES = 3  # of a candidate that ends the driver each time


@dataclass(kw_only=True)
class TrialRunner:
    """Runs what the study proposes and keeps what is known of the architectures so far.

    To begin with, it closes what a killed driver left open and queues it again.
    """

    study: Study
    space: SearchSpace
    evaluator: Evaluator
    limits: Limits
    num_classes: int
    seed: int
    provenance: dict[str, str]
    listener: Listener
    stopping: StoppingRule
    trials: list[Trial] = field(init=False)
    known: dict[str, Trial] = field(default_factory=dict)  # by architecture key
    failures: list[Failed] = field(default_factory=list)  # since the last trial that did not fail

    def __post_init__(self) -> None:
        self._recover()
        self.trials = self.study.trials()
        for trial in self.trials:
            self._learn(trial)

    def run(self, proposal: Proposal, *, train_anyway: bool = False) -> Trial:
        """Give a proposal its outcome: evaluate its architecture, or reuse what is known of it."""
        start = monotonic()
        arch = self.space.decode(proposal.params)
        self.listener.started(proposal.number, arch, proposal.baseline)
        seen = None if proposal.baseline else self.known.get(arch.key)
        if seen is not None and isinstance(seen.outcome, Failed):
            seen = None  # it is tried again
        should_stop = None if proposal.baseline else self._should_stop  # the verdict needs the published widths
        outcome = (
            seen.outcome
            if seen
            else self.evaluator.outcome(arch, train_anyway=train_anyway, should_stop=should_stop)
        )
        trial = self.make(
            arch,
            outcome,
            number=proposal.number,
            baseline=proposal.baseline,
            seconds=monotonic() - start,
            repeats=seen.number if seen else None,
        )
        self.study.tell(trial, violations=self._violations(trial))
        self.trials.append(trial)
        self._learn(trial)
        self._told(trial)
        return trial

    def run_outside(self, name: str, arch: ArchConfig, *, train_anyway: bool) -> None:
        """Evaluate a published width that the space cannot express, and keep it beside the trials."""
        start = monotonic()
        self.listener.started(-1, arch, name)
        outcome = self.evaluator.outcome(arch, train_anyway=train_anyway)
        trial = self.make(arch, outcome, number=-1, baseline=name, seconds=monotonic() - start)
        self.study.add_outside(trial)
        self._told(trial)

    def run_control(self, index: int, arch: ArchConfig) -> Trial:
        """Evaluate a random architecture, and keep it beside the trials, where the search does not see it.

        What the search has trained to the end is not trained again.
        """
        start, name = monotonic(), f"control {index}"
        self.listener.started(-1, arch, name)
        seen = self.known.get(arch.key)
        if seen is not None and not (isinstance(seen.outcome, Finished) and self.limits.allow_trial(seen)):
            seen = None
        trial = self.make(
            arch,
            seen.outcome if seen else self.evaluator.outcome(arch),
            number=-1,
            baseline=name,
            seconds=monotonic() - start,
            repeats=seen.number if seen else None,
        )
        self.study.add_control(index, trial)
        if isinstance(trial.outcome, Failed) and trial.outcome.reason == "measurement":
            self.listener.trial_ended(self.study, trial)  # a device need not take every network of a space
        else:
            self._told(trial)
        return trial

    def make(
        self,
        arch: ArchConfig,
        outcome: Outcome,
        *,
        number: int,
        baseline: str | None,
        seconds: float,
        repeats: int | None = None,
    ) -> Trial:
        """The record of an outcome."""
        cost = network_cost(arch, self.num_classes)
        return Trial(
            number=number,
            arch=arch,
            outcome=outcome,
            params=cost.params,
            macs=cost.macs,
            seed=self.seed,
            seconds=round(seconds, 3),
            baseline=baseline,
            repeats=repeats,
            provenance=self.provenance,
        )

    def _should_stop(self, accuracy_pct: Sequence[float], latency_ms: float) -> bool:
        return self.stopping.should_stop(accuracy_pct, latency_ms, self._curves())

    def _curves(self) -> list[Curve]:
        """All trainings of the search so far, each once."""
        return [
            Curve(
                accuracy_pct=trial.outcome.curve_pct,
                latency_ms=trial.outcome.latency.latency_ms,
                finished=isinstance(trial.outcome, Finished),
                allowed=self.limits.allow_trial(trial),
            )
            for trial in [*self.trials, *self.study.outside()]
            if isinstance(trial.outcome, Finished | Stopped) and trial.repeats is None
        ]

    def _recover(self) -> None:
        """Close what a killed driver left open and queue it again."""
        for proposal in self.study.unfinished():
            if proposal.params.keys() != {axis.name for axis in self.space.axes}:
                self.study.abandon(proposal.number)
                continue
            lost = Failed(reason=_INTERRUPTED, message="the search was stopped while this trial ran")
            arch = self.space.decode(proposal.params)
            trial = self.make(arch, lost, number=proposal.number, baseline=proposal.baseline, seconds=0.0)
            self.study.tell(trial, violations={})
        tries: dict[str, int] = {}
        for trial in self.study.trials():
            if _is_worth_retrying(trial):
                tries[trial.arch.key] = tries.get(trial.arch.key, 0) + 1
                if trial.baseline is not None or tries[trial.arch.key] < _MAX_TRIES:
                    self.study.queue_again(trial.number)
                else:
                    self.known[trial.arch.key] = trial

    def _told(self, trial: Trial) -> None:
        """Tell the listener; end the run when trials fail one after the other: the cause is elsewhere."""
        self.listener.trial_ended(self.study, trial)
        self.failures = [*self.failures, trial.outcome] if isinstance(trial.outcome, Failed) else []
        last = self.failures[-_MAX_FAILURES:]
        if len(last) == _MAX_FAILURES and len({failed.reason for failed in last}) == 1:
            raise MVit2SearchError(
                f"the last {_MAX_FAILURES} trials all failed in {last[0].reason}: {last[-1].message}; "
                "mend the cause and run the same command again"
            )

    def _learn(self, trial: Trial) -> None:
        if not _is_worth_retrying(trial) and trial.repeats is None:
            self.known[trial.arch.key] = trial

    def _violations(self, trial: Trial) -> dict[str, float]:
        if trial.latency is None:
            return {}
        over = {"latency_ms": trial.latency.latency_ms - self.limits.latency_ms}
        if self.limits.max_params is not None:
            over["params"] = float(trial.params - self.limits.max_params)
        return over


def _is_worth_retrying(trial: Trial) -> bool:
    """Interrupted, or a published width that failed: the verdict needs it."""
    failed = trial.outcome if isinstance(trial.outcome, Failed) else None
    return failed is not None and (trial.baseline is not None or failed.reason == _INTERRUPTED)
