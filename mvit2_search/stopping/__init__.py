"""Early stopping: rules that end a training, by name. Nothing here needs torch."""

from collections.abc import Callable

from mvit2_search.stopping.rule import Curve, StoppingRule
from mvit2_search.system.registry import Entry, Registry

STOPPING_RULES: Registry[Entry[Callable[[], StoppingRule]]] = Registry(
    "`stopping`",
    {
        "dominance": Entry("mvit2_search.stopping.dominance:Dominance"),
        "halving": Entry("mvit2_search.stopping.halving:Halving"),
        "none": Entry("mvit2_search.stopping.rule:NeverStop"),
    },
)
DEFAULT_STOPPING = "dominance"


def make_stopping_rule(name: str) -> StoppingRule:
    """The rule of that name with its usual settings; raises SpecError where there is none."""
    return STOPPING_RULES.entry(name).load()()


def check_stopping_rule(name: str) -> None:
    """Raises SpecError where there is no rule of that name."""
    STOPPING_RULES.entry(name)


__all__ = [
    "DEFAULT_STOPPING",
    "STOPPING_RULES",
    "Curve",
    "StoppingRule",
    "check_stopping_rule",
    "make_stopping_rule",
]
