"""What a task is scored by."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """A score in percent, 0 to 100.

    Attributes:
        name: of its column in tables.
        label: for people.
        direction: which way is better.
    """

    name: str
    label: str
    direction: Literal["maximize", "minimize"]


TOP1 = Metric(name="accuracy_pct", label="top-1 accuracy", direction="maximize")
