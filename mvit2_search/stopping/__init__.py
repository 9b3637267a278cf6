"""Early stopping: rules that end a training, by name, and what they have saved. Nothing here needs torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mvit2_search.records import Finished, Stopped, Trial
from mvit2_search.system.registry import Entry, Registry

DEFAULT_STOPPING = "dominance"


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """An earlier training of the same recipe.

    Attributes:
        scores: after each epoch, as far as it was trained.
        finished: whether it was trained to the end.
        allowed: whether its network is within the limits; only then can it be on the front.
    """

    scores: tuple[float, ...]
    latency_ms: float
    finished: bool
    allowed: bool = True


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

    def should_stop(self, scores: Sequence[float], latency_ms: float, past: Sequence[Curve]) -> bool:
        """Whether to end the training now.

        Args:
            scores: of the candidate after each epoch so far, at least one.
            latency_ms: of the candidate.
            past: all earlier trainings, including stopped ones.
        """


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
        epochs: of a whole training; 0 if none has finished.
    """

    rule: str
    trainings: int
    stopped: int
    epochs: int
    trained_epochs: int

    @property
    def all_epochs(self) -> int:
        """What training everything to the end would have taken."""
        return self.trainings * self.epochs


def saving(trials: Sequence[Trial], *, rule: str) -> Saving:
    """Trials that took over the outcome of another were not trained and do not count."""
    trained = [t.outcome for t in trials if isinstance(t.outcome, Finished | Stopped) and t.repeats is None]
    return Saving(
        rule=rule,
        trainings=len(trained),
        stopped=sum(isinstance(outcome, Stopped) for outcome in trained),
        epochs=whole_training(trials),
        trained_epochs=sum(len(outcome.curve) for outcome in trained),
    )


def whole_training(trials: Sequence[Trial]) -> int:
    """Number of epochs of a training to the end; 0 if none has finished."""
    return max((len(t.outcome.curve) for t in trials if isinstance(t.outcome, Finished)), default=0)
