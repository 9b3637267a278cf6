"""How far a running study is: its phase, the process that runs it, and how long it will still take."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from mvit2_search.analysis.confirmation import MAX_FINALISTS
from mvit2_search.records import Finished, Goals
from mvit2_search.report.tables import Summary
from mvit2_search.store import Activity, Holder
from mvit2_search.system.text import counted

_WIDTHS = 2  # published widths that are confirmed at most


class TimeLeft(NamedTuple):
    """Seconds of work, and what they are made of, in words."""

    seconds: float
    basis: str


def time_left(summary: Summary, goals: Goals, *, search_s: float | None = None) -> TimeLeft | None:
    """How long the remaining work takes at the pace so far; None before a candidate is trained.

    After `search_s` seconds this run starts nothing further, if it is given.
    """
    candidates = [t for t in summary.trials if t.published is None]
    trained = summary.candidates
    if not trained:
        return None
    whole = [t for t in summary.all_trials if isinstance(t.outcome, Finished) and t.repeats is None]
    each = sum(t.seconds for t in candidates) / trained  # includes trials that were not worth training
    training = sum(t.seconds for t in whole) / len(whole) if whole else each
    parts = [
        ("", max(0, goals.trials - trained), "candidate", each),
        ("", max(0, goals.control - summary.controls_trained), "random network", each),
        ("at most ", _confirmation_trainings(summary, goals), "confirmation training", training),
    ]
    seconds = sum(count * each for _, count, _, each in parts)
    texts = [
        f"{most}{counted(count, what)} at {duration(each)}{' each' if count != 1 else ''}"
        for most, count, what, each in parts
        if count
    ]
    basis = "nothing is left to train"
    if texts:
        basis = f"{', '.join(texts)}, estimated from {counted(len(candidates), 'trial')}"
    if search_s is not None and search_s < seconds:
        basis = f"`max_hours` ends this run; all remaining work takes about {duration(seconds)}: {basis}"
        seconds = max(0.0, search_s)
    return TimeLeft(seconds=seconds, basis=basis)


def _confirmation_trainings(summary: Summary, goals: Goals) -> int:
    """As planned, once they are planned for as many candidates and seeds as are asked for; before, at most."""
    progress, asked = summary.confirmation, goals.confirm_seeds
    if progress is not None and progress.seeds >= asked and summary.candidates >= goals.trials:
        return progress.planned - progress.done
    most = (min(MAX_FINALISTS, goals.trials) + _WIDTHS) * asked
    return max(0, most - sum(len(c.scores) for c in summary.confirmed))


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """A study at one moment."""

    name: str
    summary: Summary | None  # None before its budget is known
    holder: Holder | None  # the process that runs it
    activity: Activity | None  # what that process does
    goals: Goals | None  # what was last asked for; None before it is written down

    @property
    def phase(self) -> str:
        """`finished`, `stopped`, or what a running search does, such as `confirming`."""
        if self.holder is not None:
            return self.activity.phase if self.activity else "starting"
        return "finished" if self.summary is not None and self.summary.ended else "stopped"

    @property
    def left(self) -> TimeLeft | None:
        """None if the study is finished or the time is not known yet."""
        if self.phase == "finished" or self.summary is None or self.goals is None:
            return None
        search_s, hours = None, self.goals.max_hours
        if hours is not None and self.holder is not None:  # they count from the start of the process
            search_s = 3600 * hours - _seconds_since(self.holder.since)
        return time_left(self.summary, self.goals, search_s=search_s)


def state_sentences(state: State) -> list[str]:
    """What a search is doing, in one to three lines."""
    activity, holder, phase = state.activity, state.holder, state.phase
    runs = "No process is running it"
    if holder is not None:
        runs = f"Process {holder.pid} on {holder.host} has been running it since {holder.since}"
    elif phase != "finished":
        runs += "; the command that started it continues it"
    lines = [f"Phase: {phase}. {runs}."]
    if activity is not None and (now := [text for text in (activity.subject, activity.doing) if text]):
        since = f" (for {duration(_seconds_since(activity.since))})" if activity.subject else ""
        lines.append(f"Now: {', '.join(now)}{since}.")
    if phase != "finished":
        left = state.left
        lines.append(f"Time left: {f'about {duration(left.seconds)}: {left.basis}' if left else 'not known yet'}.")
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
    """By the wall clock, which may have been set back."""
    try:
        passed = datetime.now(UTC) - datetime.fromisoformat(moment)
    except (ValueError, TypeError):
        return 0.0
    return max(0.0, passed.total_seconds())
