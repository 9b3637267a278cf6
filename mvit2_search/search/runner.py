"""From a proposal to a trial on disk: measure, train, decide when to stop, keep the record."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any, NamedTuple

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.cost import network_cost
from mvit2_search.arch.head import Head
from mvit2_search.errors import MeasurementError, MVit2SearchError
from mvit2_search.execute.protocol import Executor, Running, TrainingJob
from mvit2_search.measure.source import Latencies
from mvit2_search.records import (
    ACCURACY_FROM,
    INTERRUPTED,
    Audited,
    Candidate,
    Control,
    Failed,
    Finished,
    Infeasible,
    Latency,
    Outcome,
    Role,
    Stopped,
    Trial,
    failure_sentences,
    role_name,
)
from mvit2_search.search.device_change import KeptAccuracies
from mvit2_search.search.events import Listener, followed
from mvit2_search.search.request import versions
from mvit2_search.search.state import State
from mvit2_search.space import SearchSpace
from mvit2_search.stopping import make_stopping_rule
from mvit2_search.stopping.curves import Curve, Size, lot
from mvit2_search.store import Proposal, Study
from mvit2_search.system.signals import Interrupt
from mvit2_search.train.proxies import EpochScore, Part

RUNNING = Failed(reason=INTERRUPTED, message="it runs, or the search was stopped while it ran")
_MAX_FAILURES = 5  # in a row, for the same reason


@dataclass(frozen=True, kw_only=True, slots=True)
class Jobs:
    """The two jobs of a search, measuring one architecture and training one.

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
        return followed(running, self.listener, self.interrupt)


class _Judged(NamedTuple):
    """The scores of a training as far as it was followed, and what its stopping rule said."""

    curve: tuple[float, ...]
    stopped: bool = False
    audited: Audited | None = None


class Runner:
    """Gives architectures their outcomes. First, it closes what a killed search left open, and queues it again."""

    def __init__(self, study: Study, space: SearchSpace, head: Head, jobs: Jobs, kept: KeptAccuracies) -> None:
        inputs = study.inputs
        self.study, self.space, self.jobs, self.listener = study, space, jobs, jobs.listener
        self.seed, self.head = inputs.seed, head
        self.stopping = make_stopping_rule(inputs.stopping)
        self._device = next(iter(study.devices))
        digest = study.device.passport.digest
        self._provenance = {**versions(), "data": inputs.data.fingerprint, "passport": digest}
        unfinished = study.unfinished()  # first: it completes records that State reads
        self.state = State.of(study, kept)
        self._close(unfinished)
        for trial in self.state.trials:
            interrupted = isinstance(trial.outcome, Failed) and trial.outcome.reason == INTERRUPTED
            if interrupted and trial.may_be_tried_again and trial.number is not None:
                study.queue_again(trial.number)

    def run_proposal(self, proposal: Proposal, *, train_anyway: bool = False) -> Trial:
        """Give a proposal its outcome."""
        arch = self.space.decode(proposal.params)
        return self.run(arch, proposal.role, number=proposal.number, train_anyway=train_anyway)

    def run(self, arch: ArchConfig, role: Role, *, number: int | None = None, train_anyway: bool = False) -> Trial:
        """Measure and train an architecture, or reuse what is known of it, and keep the record.

        Args:
            number: of the study's trial. A record without one is kept beside the trials, where no sampler sees it.
            train_anyway: even if it is beyond the limits.

        Raises:
            MVit2SearchError: candidates fail one after the other.
        """
        start = monotonic()
        self.listener.started(role_name(role, number), arch)
        seen = self.state.reusable(arch, role)
        trial = self._begun(arch, role, number, repeats=seen.number if seen else None)
        if number is None:
            self.study.add_beside(trial)  # stays if this process is killed
        outcome = seen.outcome if seen else self._outcome(arch, role, train_anyway=train_anyway)
        source = self.state.kept.source(arch.key, outcome)
        trial = replace(
            trial,
            outcome=outcome,
            seconds=round(monotonic() - start, 3),
            provenance=trial.provenance | ({ACCURACY_FROM: source} if source else {}),
        )
        self._keep(trial)
        self.listener.trial_ended(self.study, trial)
        self._check_failures(trial)
        return trial

    def latency(self, arch: ArchConfig) -> Latency:
        """Measured once, then at hand until a trial of the architecture uses it; raises MeasurementError."""
        if arch.key not in self.state.latencies:
            self.state.latencies[arch.key] = self.jobs.measure(arch)
        return self.state.latencies[arch.key]

    def probe(self, arch: ArchConfig) -> Latency:
        """The latency of an architecture that may be chosen next, kept with the study; raises MeasurementError."""
        with self.study.probing(arch.key):
            latency = self.latency(arch)
        self.study.add_probe(arch, latency)
        return latency

    def _outcome(self, arch: ArchConfig, role: Role, *, train_anyway: bool) -> Outcome:
        try:
            latency = self.latency(arch)
            del self.state.latencies[arch.key]
        except MeasurementError as err:
            return Failed(reason="measurement", message=str(err))
        params = network_cost(arch, self.head).params
        if not (train_anyway or self.state.limits.allow(latency, params)):
            return Infeasible(latencies={self._device: latency})
        return self._trained(arch, role, latency)

    def _trained(self, arch: ArchConfig, role: Role, latency: Latency) -> Finished | Stopped | Failed:
        """Train, unless accuracies are kept that hold: a whole curve, or one that is stopped here too."""
        latencies = {self._device: latency}
        kept = self.state.kept.outcomes.get(arch.key)
        if isinstance(kept, Finished):
            return replace(kept, latencies=latencies, audited=None)
        if kept is not None and (judged := self._judged(kept.curve, arch, role, latency)).stopped:
            return Stopped(curve=judged.curve, latencies=latencies)
        running = self.jobs.train(arch, seed=self.seed, part="selection")
        judged = self._judged((s.score for s in self.jobs.follow(running)), arch, role, latency)
        if judged.stopped:
            running.stop()
            return Stopped(curve=judged.curve, latencies=latencies)
        result = running.result()
        if result.ending == "failed":
            return Failed(reason="training", message=result.failure)
        score, balanced = result.scores[-1].score, result.scores[-1].balanced
        curve = tuple(s.score for s in result.scores)
        return Finished(score=score, curve=curve, latencies=latencies, balanced=balanced, audited=judged.audited)

    def _judged(self, scores: Iterable[float], arch: ArchConfig, role: Role, latency: Latency) -> _Judged:
        """Follow a training to where it is not worth its next epoch, or to its end.

        Only candidates are stopped: the verdict needs the others.
        """
        candidate, audited = self._candidate(arch, latency), None
        for score in scores:
            candidate = replace(candidate, scores=(*candidate.scores, score))
            if not isinstance(role, Candidate) or audited:
                continue
            verdict = self.stopping.judge(candidate, self.state.curves(), lot=lot(self.seed, arch.key))
            if verdict and verdict.stops:
                return _Judged(candidate.scores, stopped=True)
            if verdict and verdict.bound is not None:
                audited = Audited(epoch=len(candidate.scores), bound=verdict.bound)
        return _Judged(candidate.scores, audited=audited)

    def _candidate(self, arch: ArchConfig, latency: Latency) -> Curve:
        """Before its first epoch."""
        cost = network_cost(arch, self.head)
        size = Size.of(arch, macs=cost.macs, params=cost.params)
        return Curve(scores=(), latency_ms=latency.latency_ms, size=size)

    def _keep(self, trial: Trial) -> None:
        if trial.number is None:
            self.study.add_beside(trial)
        else:
            self.study.tell(trial, violations=self._violations(trial))
        self.state.add(trial)

    def _violations(self, trial: Trial) -> dict[str, float]:
        """By how much it exceeds each limit, as Optuna's constraints."""
        if trial.latency is None:
            return {}
        limits = self.state.limits
        over = {"latency_ms": trial.latency.latency_ms - limits.latency_ms}
        if limits.max_params is not None:
            over["params"] = float(trial.params - limits.max_params)
        return over

    def _begun(self, arch: ArchConfig, role: Role, number: int | None, *, repeats: int | None = None) -> Trial:
        """The record of a trial while it runs."""
        cost = network_cost(arch, self.head)
        return Trial(
            number=number,
            arch=arch,
            role=role,
            outcome=RUNNING,
            params=cost.params,
            macs=cost.macs,
            seed=self.seed,
            seconds=0.0,
            repeats=repeats,
            tries=self.state.next_try(arch, role),
            provenance=self._provenance,
        )

    def _close(self, unfinished: Sequence[Proposal]) -> None:
        """Give what a killed search left open the outcome that it was interrupted."""
        for proposal in unfinished:
            if proposal.params.keys() == {axis.name for axis in self.space.axes}:
                self._keep(self._begun(self.space.decode(proposal.params), proposal.role, proposal.number))
            else:
                self.study.abandon(proposal.number)

    def _check_failures(self, trial: Trial) -> None:
        """End the run when trials fail one after the other: the cause is elsewhere.

        Published widths do not count, nor do random architectures that the device refuses.
        """
        if trial.published:
            for sentence in failure_sentences([trial]):
                self.listener.note(sentence)
            return
        failed = trial.outcome if isinstance(trial.outcome, Failed) else None
        if failed and isinstance(trial.role, Control) and failed.reason == "measurement":
            return
        self.state.failures = [*self.state.failures, failed] if failed else []
        last = self.state.failures[-_MAX_FAILURES:]
        if len(last) == _MAX_FAILURES and len({failed.reason for failed in last}) == 1:
            raise MVit2SearchError(
                f"the last {_MAX_FAILURES} trials all failed in {last[0].reason}: {last[-1].message}; "
                "mend the cause and run the same command again"
            )
