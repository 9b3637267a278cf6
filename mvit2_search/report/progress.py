"""How far a study is, what runs it, what stopping saved, and how long it still takes.

What stopping trainings early has saved.

How long a search will still take, from how long its trials took.

Where a search is at the moment: its phase, what runs it, what it does, how long it will take.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from mvit2_search.records import Finished, Goals, Trial
from mvit2_search.report.tables import Summary
from mvit2_search.store import Activity, Holder
from mvit2_search.system.text import counted

CANDIDATES, _WIDTHS = 4, 2  # that are confirmed at most


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeLeft:
    """Seconds of work, and what they are made of, in words."""

    seconds: float
    basis: str


def time_left(summary: Summary, goals: Goals, *, search_s: float | None = None) -> TimeLeft | None:
    """What the search still has to do, if it goes on as before; None where no candidate tells how long one takes.

    Args:
        goals: what the study was last asked for.
        search_s: after so many seconds nothing further is begun, if there is such a limit.
    """
    candidates = [t for t in summary.trials if t.published is None]
    trained = summary.candidates
    if not trained:
        return None
    each = _seconds(candidates) / trained  # with those that were not worth training
    left = max(0, goals.trials - trained)
    controls = max(0, goals.control - summary.controls_trained)
    trainings = _confirmation_trainings(summary, goals)
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


def _confirmation_trainings(summary: Summary, goals: Goals) -> int:
    """At most; as planned, once they are planned for as many candidates and seeds as are asked for."""
    progress, asked = summary.confirmation, goals.confirm_seeds
    if progress is not None and progress.seeds >= asked and summary.candidates >= goals.trials:
        return progress.planned - progress.done
    most = (min(CANDIDATES, goals.trials) + _WIDTHS) * asked
    return max(0, most - sum(len(c.accuracy_pct) for c in summary.confirmed))


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _seconds(trials: Sequence[Trial]) -> float:
    return sum(trial.seconds for trial in trials)


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """A study at one moment.

    Attributes:
        summary: what it has found; None before its budget is known.
        holder: the process that runs it, if one does.
        activity: what that does.
        goals: what the study was last asked for; None before it is written down.
    """

    name: str
    summary: Summary | None
    holder: Holder | None
    activity: Activity | None
    goals: Goals | None

    @property
    def phase(self) -> str:
        """`finished`, `stopped`, or what a running search does, such as `confirming`."""
        if self.holder is not None:
            return self.activity.phase if self.activity else "starting"
        return "finished" if self.summary is not None and self.summary.ended else "stopped"

    @property
    def left(self) -> TimeLeft | None:
        """None where nothing is left, or where nobody knows yet."""
        if self.phase == "finished" or self.summary is None or self.goals is None:
            return None
        return time_left(self.summary, self.goals, search_s=self._search_s())

    def _search_s(self) -> float | None:
        """What is left of the hours of this run, which count from the start of the process."""
        hours = self.goals.max_hours if self.goals else None
        if hours is None or self.holder is None:
            return None
        return 3600 * hours - _seconds_since(self.holder.since)


def state_sentences(state: State) -> list[str]:
    """What a search is doing, in a line or three."""
    activity, holder = state.activity, state.holder
    runs = "No process runs it"
    if holder is not None:
        runs = f"Process {holder.pid} on {holder.host} runs it since {holder.since}"
    elif state.phase != "finished":
        runs += "; the command that began it goes on"
    lines = [f"Phase: {state.phase}. {runs}."]
    if activity is not None and activity.subject is not None:
        doing = f", {activity.doing}" if activity.doing else ""
        lines.append(f"Now: {activity.subject}{doing}; for {duration(_seconds_since(activity.since))}.")
    elif activity is not None and activity.doing:
        lines.append(f"Now: {activity.doing}.")
    if state.phase != "finished":
        left = state.left
        known = f"about {duration(left.seconds)}: {left.basis}" if left else "not known yet"
        lines.append(f"Time left: {known}.")
    return lines


def state_json(state: State) -> dict[str, Any]:
    """The same as data."""
    left, activity = state.left, state.activity
    return {
        "phase": state.phase,
        "now": {name: getattr(activity, name) for name in ("subject", "doing", "since")} if activity else None,
        "process": asdict(state.holder) if state.holder else None,
        "seconds_left": round(left.seconds, 1) if left else None,
        "seconds_left_from": left.basis if left else None,
    }


def _seconds_since(moment: str) -> float:
    """By the clock on the wall, which may have been set back."""
    try:
        passed = datetime.now(UTC) - datetime.fromisoformat(moment)
    except (ValueError, TypeError):
        return 0.0
    return max(0.0, passed.total_seconds())
