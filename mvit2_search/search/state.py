"""From a proposal to a trial on disk."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.cost import network_cost
from mvit2_search.errors import MVit2SearchError
from mvit2_search.records import (
    ACCURACY_FROM,
    INTERRUPTED,
    Failed,
    Finished,
    Limits,
    Outcome,
    Stopped,
    Trial,
    failure_sentences,
)
from mvit2_search.search.events import Listener
from mvit2_search.search.jobs import Evaluator
from mvit2_search.space import SearchSpace
from mvit2_search.stopping import Curve, StoppingRule
from mvit2_search.store import Proposal, Study

_MAX_FAILURES = 5  # in a row, for the same reason


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
            tries=self._next_try(arch, proposal.baseline),
        )
        self.study.tell(trial, violations=self._violations(trial))
        self.trials.append(trial)
        self._learn(trial)
        self._told(trial)
        return trial

    def run_outside(self, name: str, arch: ArchConfig, *, train_anyway: bool) -> None:
        """Evaluate a published width that the space cannot express, and keep it beside the trials."""
        before = next((trial for trial in self.study.outside() if trial.baseline == name), None)
        trial = self._run_beside(
            name,
            arch,
            lambda: self.evaluator.outcome(arch, train_anyway=train_anyway),
            keep=self.study.add_outside,
            before=before,
        )
        self._told(trial)

    def run_control(self, index: int, arch: ArchConfig, *, before: Trial | None) -> Trial:
        """Evaluate a random architecture, and keep it beside the trials, where the search does not see it.

        What the search has trained to the end is not trained again.

        Args:
            before: what became of it when it was tried before.
        """
        name = f"control {index}"
        seen = self.known.get(arch.key)
        if seen is not None and not (isinstance(seen.outcome, Finished) and self.limits.allow_trial(seen)):
            seen = None
        trial = self._run_beside(
            name,
            arch,
            lambda: seen.outcome if seen else self.evaluator.outcome(arch),
            keep=lambda trial: self.study.add_control(index, trial),
            before=before,
            repeats=seen.number if seen else None,
        )
        if isinstance(trial.outcome, Failed) and trial.outcome.reason == "measurement":
            self.listener.trial_ended(self.study, trial)  # a device need not take every network of a space
        else:
            self._told(trial)
        return trial

    def _run_beside(
        self,
        name: str,
        arch: ArchConfig,
        evaluate: Callable[[], Outcome],
        *,
        keep: Callable[[Trial], None],
        before: Trial | None,
        repeats: int | None = None,
    ) -> Trial:
        """Give what is no trial of Optuna's its outcome, and keep it.

        A record that it was interrupted is kept first: it says so if this process ends, and how often it has.
        """
        start = monotonic()
        self.listener.started(-1, arch, name)
        tries = 1 if before is None else before.tries + 1

        def made(outcome: Outcome) -> Trial:
            seconds = monotonic() - start
            return self.make(
                arch, outcome, number=-1, baseline=name, seconds=seconds, repeats=repeats, tries=tries
            )

        keep(made(Failed(reason=INTERRUPTED, message="it runs, or the search was stopped while it ran")))
        trial = made(evaluate())
        keep(trial)
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
        tries: int = 1,
    ) -> Trial:
        """The record of an outcome."""
        cost = network_cost(arch, self.num_classes)
        source = self.evaluator.kept.source(arch.key, outcome)
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
            tries=tries,
            provenance=self.provenance | ({ACCURACY_FROM: source} if source else {}),
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
        """Close what a killed driver left open and queue it again, unless it is given up."""
        unfinished = self.study.unfinished()
        self.trials = self.study.trials()  # with those that only lacked their state
        for proposal in unfinished:
            if proposal.params.keys() != {axis.name for axis in self.space.axes}:
                self.study.abandon(proposal.number)
                continue
            arch = self.space.decode(proposal.params)
            trial = self.make(
                arch,
                Failed(reason=INTERRUPTED, message="the search was stopped while this trial ran"),
                number=proposal.number,
                baseline=proposal.baseline,
                seconds=0.0,
                tries=self._next_try(arch, proposal.baseline),
            )
            self.study.tell(trial, violations={})
            self.trials.append(trial)
        for trial in self.trials:
            if _is_interrupted(trial) and trial.may_be_tried_again:
                self.study.queue_again(trial.number)

    def _next_try(self, arch: ArchConfig, baseline: str | None) -> int:
        """How often this published width, or candidate, has been begun with this time, as the trials tell."""
        attempts = [t for t in self.trials if t.baseline == baseline and (baseline or t.arch.key == arch.key)]
        return 1 + sum(isinstance(t.outcome, Failed) for t in attempts)

    def _told(self, trial: Trial) -> None:
        """Tell the listener; end the run when candidates fail one after the other: the cause is elsewhere."""
        self.listener.trial_ended(self.study, trial)
        if trial.is_published_width:  # the search can do without
            for sentence in failure_sentences([trial]):
                self.listener.note(sentence)
            return
        self.failures = [*self.failures, trial.outcome] if isinstance(trial.outcome, Failed) else []
        last = self.failures[-_MAX_FAILURES:]
        if len(last) == _MAX_FAILURES and len({failed.reason for failed in last}) == 1:
            raise MVit2SearchError(
                f"the last {_MAX_FAILURES} trials all failed in {last[0].reason}: {last[-1].message}; "
                "mend the cause and run the same command again"
            )

    def _learn(self, trial: Trial) -> None:
        if not trial.may_be_tried_again and trial.repeats is None:
            self.known[trial.arch.key] = trial

    def _violations(self, trial: Trial) -> dict[str, float]:
        if trial.latency is None:
            return {}
        over = {"latency_ms": trial.latency.latency_ms - self.limits.latency_ms}
        if self.limits.max_params is not None:
            over["params"] = float(trial.params - self.limits.max_params)
        return over


def _is_interrupted(trial: Trial) -> bool:
    return isinstance(trial.outcome, Failed) and trial.outcome.reason == INTERRUPTED
