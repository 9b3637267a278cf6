"""Early stopping: rules that end a training, by name. Nothing here needs torch."""

from importlib import import_module

from mvit2_search.errors import SpecError
from mvit2_search.stopping.rule import Curve, StoppingRule

STOPPING_RULES = {
    "dominance": "mvit2_search.stopping.dominance:Dominance",
    "halving": "mvit2_search.stopping.halving:Halving",
    "none": "mvit2_search.stopping.rule:NeverStop",
}
DEFAULT_STOPPING = "dominance"


def make_stopping_rule(name: str) -> StoppingRule:
    """The rule of that name with its default settings; raises SpecError if there is none."""
    check_stopping_rule(name)
    module, cls = STOPPING_RULES[name].split(":")
    rule: StoppingRule = getattr(import_module(module), cls)()
    return rule


def check_stopping_rule(name: str) -> None:
    """Raises SpecError if there is no rule of that name."""
    if name not in STOPPING_RULES:
        raise SpecError(f"--stopping {name!r}: expected one of {', '.join(STOPPING_RULES)}")


__all__ = [
    "DEFAULT_STOPPING",
    "STOPPING_RULES",
    "Curve",
    "StoppingRule",
    "check_stopping_rule",
    "make_stopping_rule",
]
