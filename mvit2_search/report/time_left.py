"""How long a search will still take, from how long its trials took."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mvit2_search.records import Finished, Trial
from mvit2_search.report.tables import Summary

FINALISTS = 6  # at most: four candidates and two published widths


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeLeft:
    """Seconds of work, and what they are made of, in words."""

    seconds: float
    basis: str


def time_left(summary: Summary, request: Mapping[str, Any], *, search_s: float | None = None) -> TimeLeft | None:
    """What the search still has to do, if it goes on as before; None where no candidate tells how long one takes.

    Args:
        request: what the study was last asked for.
        search_s: after so many seconds no further candidate is begun, if there is such a limit.
    """
    candidates = [t for t in summary.trials if t.baseline is None]
    trained = summary.candidates
    if not trained:
        return None
    each = _seconds(candidates) / trained  # with those that were not worth training
    left = max(0, request["trials"] - trained)
    searching = each * left if search_s is None else min(each * left, max(0.0, search_s))
    controls = max(0, request.get("control", 0) - summary.controls_trained)
    trainings = max(0, FINALISTS * request["confirm_seeds"] - sum(len(c.accuracy_pct) for c in summary.confirmed))
    whole = [t for t in summary.all_trials if isinstance(t.outcome, Finished) and t.repeats is None]
    training = _seconds(whole) / len(whole) if whole else each
    parts = [
        (left, f"{left} candidates at {duration(each)} each"),
        (controls, f"{controls} random ones at {duration(each)} each"),
        (trainings, f"at most {trainings} trainings of the confirmation at {duration(training)} each"),
    ]
    basis = ", ".join(text for count, text in parts if count)
    return TimeLeft(
        seconds=searching + each * controls + training * trainings,
        basis=f"{basis}, from {len(candidates)} trials so far",
    )


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _seconds(trials: Sequence[Trial]) -> float:
    return sum(trial.seconds for trial in trials)
