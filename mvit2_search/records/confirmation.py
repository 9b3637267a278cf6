"""Scores of finalists that were trained again with fresh seeds and tested on unseen images."""

from dataclasses import asdict, dataclass
from typing import Any, Self

from mvit2_search.records.plausible import accuracy_fault
from mvit2_search.records.trial import MOST_TRIES, Failed


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """One training of one finalist, scored on the confirmation images; `tries` is how often it was begun."""

    subject: str  # architecture key
    seed: int
    result: float | Failed  # top-1 in percent
    tries: int = 1

    @property
    def is_given_up(self) -> bool:
        """Whether it failed so often that it is not tried again."""
        return isinstance(self.result, Failed) and self.tries >= MOST_TRIES

    @property
    def may_be_tried_again(self) -> bool:
        return isinstance(self.result, Failed) and not self.is_given_up

    def to_json(self) -> dict[str, Any]:
        result = (
            {"failed": asdict(self.result)} if isinstance(self.result, Failed) else {"accuracy_pct": self.result}
        )
        return {"subject": self.subject, "seed": self.seed, "tries": self.tries, **result}

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Self:
        result = Failed(**row["failed"]) if "failed" in row else row["accuracy_pct"]
        if not isinstance(result, Failed) and (fault := accuracy_fault(result)):
            result = Failed(reason="training", message=fault)
        return cls(subject=row["subject"], seed=row["seed"], result=result, tries=row.get("tries", 1))
