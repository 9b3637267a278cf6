"""How long a search will still take, from how long its trials took."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mvit2_search.counts import counted
from mvit2_search.records import Finished, Trial
from mvit2_search.report.tables import Summary

CANDIDATES, _WIDTHS = 4, 2  # that are confirmed at most


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeLeft:
    """Seconds of work, and what they are made of, in words."""

    seconds: float
    basis: str


def time_left(summary: Summary, request: Mapping[str, Any], *, search_s: float | None = None) -> TimeLeft | None:
    """What the search still has to do, if it goes on as before; None where no candidate tells how long one takes.

    Args:
        request: what the study was last asked for.
        search_s: after so many seconds nothing further is begun, if there is such a limit.
    """
    candidates = [t for t in summary.trials if t.baseline is None]
    trained = summary.candidates
    if not trained:
        return None
    each = _seconds(candidates) / trained  # with those that were not worth training
    left = max(0, request["trials"] - trained)
    controls = max(0, request.get("control", 0) - summary.controls_trained)
    trainings = _confirmation_trainings(summary, request)
    whole = [t for t in summary.all_trials if isinstance(t.outcome, Finished) and t.repeats is None]
    training = _seconds(whole) / len(whole) if whole else each
    parts = [
        (left, _at(left, "candidate", each)),
        (controls, _at(controls, "random one", each)),
        (trainings, "at most " + _at(trainings, "training", training, of=" of the confirmation")),
    ]
    seconds = each * (left + controls) + training * trainings
    told = ", ".join(text for count, text in parts if count)
    basis = f"{told}, from {counted(len(candidates), 'trial')} so far" if told else "nothing is left to train"
    if search_s is not None and search_s < seconds:
        within = max(0.0, search_s)
        return TimeLeft(
            seconds=within, basis=f"the hours end this run; all that is left takes {duration(seconds)}: {basis}"
        )
    return TimeLeft(seconds=seconds, basis=basis)


def _at(count: int, what: str, seconds: float, of: str = "") -> str:
    return f"{counted(count, what)}{of} at {duration(seconds)}{' each' if count != 1 else ''}"


def _confirmation_trainings(summary: Summary, request: Mapping[str, Any]) -> int:
    """At most; as planned, once they are planned for as many candidates and seeds as are asked for."""
    progress, asked = summary.confirmation, int(request["confirm_seeds"])
    if progress is not None and progress.seeds >= asked and summary.candidates >= request["trials"]:
        return progress.planned - progress.done
    most = (min(CANDIDATES, int(request["trials"])) + _WIDTHS) * asked
    return max(0, most - sum(len(c.accuracy_pct) for c in summary.confirmed))


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _seconds(trials: Sequence[Trial]) -> float:
    return sum(trial.seconds for trial in trials)
