"""From a proposal to a trial on disk."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.cost import network_cost
from mvit2_search.errors import MVit2SearchError
from mvit2_search.records import (
    ACCURACY_FROM,
    INTERRUPTED,
    Candidate,
    Control,
    Failed,
    Finished,
    Limits,
    Outcome,
    Published,
    Role,
    Stopped,
    Trial,
    failure_sentences,
    role_name,
)
from mvit2_search.search.events import Listener
from mvit2_search.search.jobs import Evaluator
from mvit2_search.space import SearchSpace
from mvit2_search.stopping import Curve, StoppingRule
from mvit2_search.store import Proposal, Study

RUNNING = Failed(reason=INTERRUPTED, message="it runs, or the search was stopped while it ran")
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

    def run_proposal(self, proposal: Proposal, *, train_anyway: bool = False) -> Trial:
        """Give a proposal its outcome."""
        arch = self.space.decode(proposal.params)
        return self.run(arch, proposal.role, number=proposal.number, train_anyway=train_anyway)

    def run(self, arch: ArchConfig, role: Role, *, number: int | None = None, train_anyway: bool = False) -> Trial:
        """Give an architecture its outcome in a role, and keep it: evaluate it, or reuse what is known of it.

        Args:
            number: of Optuna's trial; without one, the record is kept beside those, where the sampler does not see
                it. There, a record that it was interrupted is kept first: it says so if this process ends.
        """
        start, tries = monotonic(), self._next_try(arch, role)
        self.listener.started(role_name(role, number), arch)
        seen = self._seen(arch, role)

        def made(outcome: Outcome) -> Trial:
            repeats = seen.number if seen else None
            seconds = monotonic() - start
            return self._made(arch, outcome, role, number=number, seconds=seconds, repeats=repeats, tries=tries)

        if number is None:
            self.study.add_beside(made(RUNNING))
        should_stop = self._should_stop if isinstance(role, Candidate) else None  # the verdict needs the others
        trial = made(
            seen.outcome
            if seen
            else self.evaluator.outcome(arch, train_anyway=train_anyway, should_stop=should_stop)
        )
        self._keep(trial)
        self._told(trial)
        return trial

    def _seen(self, arch: ArchConfig, role: Role) -> Trial | None:
        """The trial whose outcome holds for this one too.

        A candidate that failed is tried again; a random architecture is trained unless the search has trained it
        to the end.
        """
        seen = None if isinstance(role, Published) else self.known.get(arch.key)
        if seen is None or isinstance(seen.outcome, Failed):
            return None
        if isinstance(role, Control) and not (
            isinstance(seen.outcome, Finished) and self.limits.allow_trial(seen)
        ):
            return None
        return seen

    def _keep(self, trial: Trial) -> None:
        if trial.number is None:
            self.study.add_beside(trial)
            return
        self.study.tell(trial, violations=self._violations(trial))
        self.trials.append(trial)
        self._learn(trial)

    def _made(
        self,
        arch: ArchConfig,
        outcome: Outcome,
        role: Role,
        *,
        number: int | None,
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
            role=role,
            outcome=outcome,
            params=cost.params,
            macs=cost.macs,
            seed=self.seed,
            seconds=round(seconds, 3),
            repeats=repeats,
            tries=tries,
            provenance=self.provenance | ({ACCURACY_FROM: source} if source else {}),
        )

    def _should_stop(self, curve: Sequence[float], latency_ms: float) -> bool:
        return self.stopping.should_stop(curve, latency_ms, self._curves())

    def all_trials(self) -> list[Trial]:
        """The trials and the published widths outside of the space."""
        return [*self.trials, *self.study.outside()]

    def _curves(self) -> list[Curve]:
        """All trainings of the search so far, each once."""
        return [
            Curve(
                accuracy_pct=trial.outcome.curve,
                latency_ms=trial.outcome.latency.latency_ms,
                finished=isinstance(trial.outcome, Finished),
                allowed=self.limits.allow_trial(trial),
            )
            for trial in self.all_trials()
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
            tries = self._next_try(arch, proposal.role)
            trial = self._made(arch, RUNNING, proposal.role, number=proposal.number, seconds=0.0, tries=tries)
            self.study.tell(trial, violations={})
            self.trials.append(trial)
        for trial in self.trials:
            if _is_interrupted(trial) and trial.may_be_tried_again and trial.number is not None:
                self.study.queue_again(trial.number)

    def _next_try(self, arch: ArchConfig, role: Role) -> int:
        """How often the architecture has been begun in this role with this time, as the records tell."""
        kept = self.study.controls() if isinstance(role, Control) else self.all_trials()
        before = [t for t in kept if (t.role, t.arch.key) == (role, arch.key) and isinstance(t.outcome, Failed)]
        return 1 + max((t.tries for t in before), default=0)

    def _told(self, trial: Trial) -> None:
        """Tell the listener; end the run when candidates fail one after the other: the cause is elsewhere.

        The search can do without a published width, and a device need not take every network of a space.
        """
        self.listener.trial_ended(self.study, trial)
        if trial.published:
            for sentence in failure_sentences([trial]):
                self.listener.note(sentence)
            return
        failed = trial.outcome if isinstance(trial.outcome, Failed) else None
        if failed and isinstance(trial.role, Control) and failed.reason == "measurement":
            return
        self.failures = [*self.failures, failed] if failed else []
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
