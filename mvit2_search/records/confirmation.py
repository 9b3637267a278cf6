"""The confirmation: which finalists are trained again with fresh seeds, and their scores on unseen images."""

from dataclasses import asdict, dataclass
from typing import Any, Self

from mvit2_search.records.plausible import accuracy_fault
from mvit2_search.records.trial import INTERRUPTED, MOST_TRIES, Failed


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """One training of one finalist, scored on the confirmation images; `tries` is how often it was begun."""

    subject: str  # architecture key
    seed: int
    result: float | Failed  # top-1 in percent
    balanced_pct: float | None = None  # the mean over the classes, where they are unbalanced
    tries: int = 1

    @property
    def is_given_up(self) -> bool:
        """Whether it failed so often that it is not tried again."""
        return isinstance(self.result, Failed) and self.tries >= MOST_TRIES

    @property
    def may_be_tried_again(self) -> bool:
        return isinstance(self.result, Failed) and not self.is_given_up

    @property
    def is_unfinished(self) -> bool:
        """Whether it runs, or was cut off and is begun again."""
        return self.may_be_tried_again and isinstance(self.result, Failed) and self.result.reason == INTERRUPTED

    def to_json(self) -> dict[str, Any]:
        result = (
            {"failed": asdict(self.result)} if isinstance(self.result, Failed) else {"accuracy_pct": self.result}
        )
        rest = {"balanced_pct": self.balanced_pct, "tries": self.tries}
        return {"subject": self.subject, "seed": self.seed, **result, **rest}

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Self:
        result = Failed(**row["failed"]) if "failed" in row else row["accuracy_pct"]
        if not isinstance(result, Failed) and (fault := accuracy_fault(result)):
            result = Failed(reason="training", message=fault)
        rest = {"balanced_pct": row.get("balanced_pct"), "tries": row.get("tries", 1)}
        return cls(subject=row["subject"], seed=row["seed"], result=result, **rest)


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfirmationPlan:
    """What is trained again, as long as nothing is told apart from the best.

    Attributes:
        keys: architectures of the finalists among the candidates; no other candidate is compared.
        widths: architectures of the published widths around the budget.
        seeds: of the trainings.
        candidates: how many had been trained when the finalists were chosen.
    """

    keys: tuple[str, ...]
    widths: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    candidates: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Self:
        """Of an early version, which kept the keys alone, too: such a choice is made anew."""
        lists = {name: tuple(row.get(name, ())) for name in ("keys", "widths", "seeds")}
        return cls(**lists, candidates=row.get("candidates", 0))
