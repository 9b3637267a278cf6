"""What Optuna keeps of each trial beside its record: a sampler learns from that, so the two have to agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mvit2_search.errors import SpecError
from mvit2_search.records import Failed, Finished, Infeasible, Outcome, Stopped, Trial, outcome_name
from mvit2_search.store.contents import RECORD

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

KeyOf = Callable[[Mapping[str, Any]], str]  # the key of the network that settings stand for

STATES: dict[type[Outcome], str] = {
    Finished: "COMPLETE",
    Infeasible: "PRUNED",
    Stopped: "PRUNED",
    Failed: "FAIL",
}


def seen_otherwise(frozen: Sequence[FrozenTrial], trials: Sequence[Trial], key_of: KeyOf) -> list[int]:
    """The numbers of the trials of which Optuna has another network, state or values than the record."""
    seen = {one.number: one for one in frozen}
    return [trial.number for trial in trials if not _agrees(seen[trial.number], trial, key_of)]


def _agrees(seen: FrozenTrial, trial: Trial, key_of: KeyOf) -> bool:
    outcome, state = trial.outcome, seen.state.name
    if outcome_name(outcome) != seen.user_attrs[RECORD]["outcome"]["kind"]:
        return True  # its numbers are none, and were not checked when it was recorded
    told = [outcome.accuracy_pct, outcome.latency.latency_ms] if isinstance(outcome, Finished) else None
    return state == STATES[type(outcome)] and seen.values == told and _key(seen.params, key_of) == trial.arch.key


def _key(settings: Mapping[str, Any], key_of: KeyOf) -> str | None:
    try:
        return key_of(settings)
    except (KeyError, SpecError):
        return None
