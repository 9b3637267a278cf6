"""What a network ends in. The head belongs to the task, not to the architecture."""

from dataclasses import dataclass

from mvit2_search.errors import SpecError


@dataclass(frozen=True, slots=True)
class ClassifierHead:
    """Average pooling and one linear layer, with one output per class."""

    classes: int

    def __post_init__(self) -> None:
        if self.classes < 1:
            raise SpecError(f"a classifier needs at least 1 class, not {self.classes}")


Head = ClassifierHead
IMAGENET = ClassifierHead(1000)
