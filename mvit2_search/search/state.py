"""What a search knows so far. Data only: nothing here runs or writes anything."""

from dataclasses import dataclass, field
from typing import Self

from mvit2_search.arch import ArchConfig
from mvit2_search.records import Control, Failed, Finished, Latency, Limits, Published, Role, Trial
from mvit2_search.search.device_change import KeptAccuracies
from mvit2_search.stopping.curves import Curve, curves_of
from mvit2_search.store import StoredStudy


@dataclass(kw_only=True)
class State:
    """The records of one search, and what follows from them.

    Attributes:
        trials: of the study, as they ended.
        outside: published widths that the space cannot express, by name.
        controls: random architectures, by their place in the order drawn.
        known: by architecture, the trial whose outcome holds for it again.
        failures: since the last trial that did not fail.
        latencies: by architecture, what was measured to choose a trial and no trial has used yet.
        kept: accuracies of other studies.
    """

    limits: Limits
    kept: KeptAccuracies
    trials: list[Trial] = field(default_factory=list)
    outside: dict[str, Trial] = field(default_factory=dict)
    controls: dict[int, Trial] = field(default_factory=dict)
    known: dict[str, Trial] = field(default_factory=dict)
    failures: list[Failed] = field(default_factory=list)
    latencies: dict[str, Latency] = field(default_factory=dict)

    @classmethod
    def of(cls, study: StoredStudy, kept: KeptAccuracies) -> Self:
        """As the study on disk tells it."""
        state = cls(limits=study.limits, kept=kept)
        for trial in [*study.trials(), *study.outside(), *study.controls()]:
            state.add(trial)
        return state

    def add(self, trial: Trial) -> None:
        """Take in a trial that has its outcome. One that is kept beside the trials replaces that of before."""
        match trial:
            case Trial(number=None, role=Published(name=name)):
                self.outside[name] = trial
            case Trial(number=None, role=Control(index=index)):
                self.controls[index] = trial
            case _:
                self.trials.append(trial)
                if not trial.may_be_tried_again and trial.repeats is None:
                    self.known[trial.arch.key] = trial

    def all_trials(self) -> list[Trial]:
        """The trials and the published widths outside of the space: all that is compared."""
        return [*self.trials, *(self.outside[name] for name in sorted(self.outside))]

    def reusable(self, arch: ArchConfig, role: Role) -> Trial | None:
        """The trial whose outcome is taken over for an architecture in a role.

        Failures are not. A random architecture needs a whole training; a published width is always run anew.
        """
        seen = None if isinstance(role, Published) else self.known.get(arch.key)
        if seen is None or isinstance(seen.outcome, Failed):
            return None
        is_whole = isinstance(seen.outcome, Finished) and self.limits.allow_trial(seen)
        return seen if is_whole or not isinstance(role, Control) else None

    def next_try(self, arch: ArchConfig, role: Role) -> int:
        """How often an architecture has been tried in a role if it is tried now."""
        trials = self.controls.values() if isinstance(role, Control) else self.all_trials()
        before = [t for t in trials if (t.role, t.arch.key) == (role, arch.key) and isinstance(t.outcome, Failed)]
        return 1 + max((t.tries for t in before), default=0)

    def curves(self) -> list[Curve]:
        """All trainings so far but those of random architectures, each once."""
        return curves_of(self.all_trials(), self.limits)

    def count_candidates(self) -> int:
        """How many candidates are trained."""
        return sum(trial.is_trained_candidate for trial in self.trials)
