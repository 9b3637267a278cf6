"""Early stopping: rules that end a training, by name, and what they have saved. Nothing here needs torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from mvit2_search.records import Finished, Stopped, Trial
from mvit2_search.stopping.curves import Curve
from mvit2_search.system.registry import Entry, Registry

DEFAULT_STOPPING = "dominance"


class Verdict(NamedTuple):
    """That a training is not worth its next epoch.

    Attributes:
        stops: whether it ends here; if not, it goes on to its end all the same, as an audit of the rule.
        bound: the most that it was expected to reach, where the rule has such a bound.
    """

    stops: bool = True
    bound: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Audit:
    """Of the trainings that went to their end, those that would have been stopped, and how many of them wrongly.

    Attributes:
        audited: would have been stopped, judged by all the others.
        missed: of these, ended above their bound.
        low, high: of the miss rate, 95 % (Clopper and Pearson, 1934); 0 and 1 where nothing was audited.
        most_missed: the rule may stop trainings while `high` is at or below this.
    """

    audited: int
    missed: int
    low: float
    high: float
    most_missed: float

    @property
    def vouches(self) -> bool:
        """Whether the rule may stop trainings."""
        return self.high <= self.most_missed


class StoppingRule(Protocol):
    """Decides after each epoch whether a candidate's training goes on.

    Attributes:
        stops_dominated: whether a stopped training is expected to end below a network that is as fast.

    Implementations promise:

    - Nothing is stopped before one training has finished, which shows how many epochs there are, nor after the
      last epoch.
    - Equal arguments, equal answer; the order of `past` does not matter.
    """

    stops_dominated: bool

    def judge(self, candidate: Curve, past: Sequence[Curve], *, lot: float) -> Verdict | None:
        """Whether the candidate's training is worth its next epoch: None where it is.

        Args:
            candidate: as far as it is trained, at least one epoch.
            past: all earlier trainings, including stopped ones.
            lot: of `curves.lot`, whether the candidate is trained to its end whatever is expected of it.
        """

    def audit(self, past: Sequence[Curve]) -> Audit | None:
        """How far the rule may be trusted here; None where it makes no promise that could be audited."""


STOPPING_RULES: Registry[Entry[Callable[[], StoppingRule]]] = Registry(
    "`stopping`",
    {
        "dominance": Entry("mvit2_search.stopping.rules:Dominance"),
        "halving": Entry("mvit2_search.stopping.rules:Halving"),
        "none": Entry("mvit2_search.stopping.rules:NeverStop"),
    },
)


def make_stopping_rule(name: str) -> StoppingRule:
    """The rule of that name with its usual settings; raises SpecError where there is none."""
    return STOPPING_RULES.entry(name).load()()


@dataclass(frozen=True, kw_only=True, slots=True)
class Saving:
    """What a rule has saved of the search's trainings, published widths included, without the confirmation.

    Attributes:
        rule: the name of the stopping rule.
        spared: would have been stopped, and went to their end as an audit.
        missed: of these, ended above the bound that they had then.
        epochs: of a whole training; 0 if none has finished.
    """

    rule: str
    trainings: int
    stopped: int
    spared: int
    missed: int
    epochs: int
    trained_epochs: int

    @property
    def all_epochs(self) -> int:
        """What training everything to the end would have taken."""
        return self.trainings * self.epochs


def saving(trials: Sequence[Trial], *, rule: str) -> Saving:
    """Trials that took over the outcome of another were not trained and do not count."""
    trained = [t.outcome for t in trials if isinstance(t.outcome, Finished | Stopped) and t.repeats is None]
    whole = [outcome for outcome in trained if isinstance(outcome, Finished)]
    spared = [(outcome.score, outcome.audited.bound) for outcome in whole if outcome.audited]
    return Saving(
        rule=rule,
        trainings=len(trained),
        stopped=len(trained) - len(whole),
        spared=len(spared),
        missed=sum(score > bound for score, bound in spared),
        epochs=whole_training(trials),
        trained_epochs=sum(len(outcome.curve) for outcome in trained),
    )


def whole_training(trials: Sequence[Trial]) -> int:
    """Number of epochs of a training to the end; 0 if none has finished."""
    return max((len(t.outcome.curve) for t in trials if isinstance(t.outcome, Finished)), default=0)
