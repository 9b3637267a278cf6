"""What early stopping has saved."""

from collections.abc import Sequence
from dataclasses import dataclass

from mvit2_search.records import Finished, Stopped, Trial


@dataclass(frozen=True, kw_only=True, slots=True)
class Saving:
    """Trainings of the search, published widths included, without the confirmation.

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
