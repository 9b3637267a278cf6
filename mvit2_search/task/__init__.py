"""What the network is trained for, and its data."""

from collections.abc import Callable, Sequence

from mvit2_search.system.registry import Entry, Registry
from mvit2_search.task.protocol import Task

TASKS: Registry[Entry[Callable[[Sequence[str]], Task]]] = Registry(
    "`task`", {"classification": Entry("mvit2_search.task.classification:Classification")}
)


def make_task(name: str, classes: Sequence[str]) -> Task:
    """The task of that name for these classes; raises SpecError if there is none."""
    return TASKS.entry(name).load()(classes)


__all__ = ["TASKS", "Task", "make_task"]
