"""Whether a training goes on, by the name of the rule that decides. Nothing here needs torch."""

from importlib import import_module

from mvit2_search.errors import SpecError
from mvit2_search.stopping.rule import Curve, StoppingRule

STOPPING_RULES = {
    "dominance": "mvit2_search.stopping.dominance:Dominance",
    "halving": "mvit2_search.stopping.halving:Halving",
    "none": "mvit2_search.stopping.rule:Never",
}
DEFAULT_STOPPING = "dominance"


def make_stopping_rule(name: str) -> StoppingRule:
    """The rule of that name with its usual settings; raises SpecError where there is none."""
    check_stopping_rule(name)
    module, cls = STOPPING_RULES[name].split(":")
    rule: StoppingRule = getattr(import_module(module), cls)()
    return rule


def check_stopping_rule(name: str) -> None:
    """Raises SpecError where there is no rule of that name."""
    if name not in STOPPING_RULES:
        raise SpecError(f"`stopping` {name!r}: expected one of {', '.join(STOPPING_RULES)}")


__all__ = [
    "DEFAULT_STOPPING",
    "STOPPING_RULES",
    "Curve",
    "StoppingRule",
    "check_stopping_rule",
    "make_stopping_rule",
]
