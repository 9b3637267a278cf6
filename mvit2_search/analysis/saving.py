"""What ending trainings early has saved."""

from collections.abc import Sequence
from dataclasses import dataclass

from mvit2_search.records import Finished, Stopped, Trial


@dataclass(frozen=True, kw_only=True, slots=True)
class Saving:
    """Of the search's trainings, published widths included, without the confirmation's.

    Attributes:
        rule: of the stopping rule.
        epochs: of a whole training; 0 where none has finished.
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
    """Trials that took another's outcome over were not trained and do not count."""
    trained = [t.outcome for t in trials if isinstance(t.outcome, Finished | Stopped) and t.repeats is None]
    return Saving(
        rule=rule,
        trainings=len(trained),
        stopped=sum(isinstance(outcome, Stopped) for outcome in trained),
        epochs=whole_training(trials),
        trained_epochs=sum(len(outcome.curve) for outcome in trained),
    )


def whole_training(trials: Sequence[Trial]) -> int:
    """How many epochs a training to the end has; 0 where none has finished."""
    return max((len(t.outcome.curve) for t in trials if isinstance(t.outcome, Finished)), default=0)
