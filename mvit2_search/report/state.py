"""Where a search is at the moment: its phase, what runs it, what it does, how long it will take."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from mvit2_search.report.tables import Summary
from mvit2_search.report.time_left import TimeLeft, duration, time_left
from mvit2_search.store import Activity, Holder


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """A study at one moment.

    Attributes:
        summary: what it has found; None before its budget is known.
        holder: the process that runs it, if one does.
        activity: what that does.
        request: what the study was last asked for; None before it is written down.
    """

    name: str
    summary: Summary | None
    holder: Holder | None
    activity: Activity | None
    request: dict[str, Any] | None

    @property
    def phase(self) -> str:
        """`finished`, `stopped`, or what a running search does, such as `confirming`."""
        if self.holder is not None:
            return self.activity.phase if self.activity else "starting"
        return "finished" if self.summary is not None and self.summary.ended else "stopped"

    @property
    def left(self) -> TimeLeft | None:
        """None where nothing is left, or where nobody knows yet."""
        if self.phase == "finished" or self.summary is None or self.request is None:
            return None
        return time_left(self.summary, self.request, search_s=self._search_s())

    def _search_s(self) -> float | None:
        """What is left of `--max-hours`, which count from the start of the process."""
        hours = self.request.get("max_hours") if self.request else None
        if hours is None or self.holder is None:
            return None
        return float(3600 * hours) - _seconds_since(self.holder.since)


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
