"""A study's records in one summary, and as plain tables. Draws nothing and needs no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mvit2_search.analysis.confirmation import (
    ConfirmationProgress,
    Confirmed,
    confirmation_progress,
    confirmations,
)
from mvit2_search.analysis.pareto import pareto_front
from mvit2_search.analysis.verdict import Verdict, judge
from mvit2_search.records import (
    TOP1,
    Failed,
    Finished,
    Infeasible,
    Inputs,
    Limits,
    Measurement,
    Outcome,
    Passport,
    Score,
    Stopped,
    Trial,
    latency_kind,
    outcome_name,
)
from mvit2_search.stopping import Saving, saving, whole_training
from mvit2_search.store import StoredStudy

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """Everything that a report shows of a study, in memory.

    Attributes:
        outside: published widths that the space cannot express.
        lost: numbers of trials that were killed before they had an architecture.
        ended: why the study is finished, or None while there is more to do.
        controls: random networks to compare the search with, trained or not.
        confirmation: how far it is with all candidates so far; None if it has not begun.
        untimed: keys of networks whose timing, before one was chosen, ended the search each time.
    """

    name: str
    inputs: Inputs
    passport: Passport
    limits: Limits
    trials: list[Trial]
    outside: list[Trial]
    lost: list[int]
    front: list[Trial]
    confirmed: list[Confirmed]
    verdict: Verdict | None
    ended: str | None
    controls: list[Trial] = field(default_factory=list)
    confirmation: ConfirmationProgress | None = None
    scores: list[Score] = field(default_factory=list)
    untimed: list[str] = field(default_factory=list)

    @property
    def provisional(self) -> bool:
        """Whether the answer may still change."""
        return self.ended is None

    @property
    def budget(self) -> str:
        """As it was asked for: `12ms` or `mobilevitv2-0.75`."""
        return self.inputs.latency_budget

    @property
    def all_trials(self) -> list[Trial]:
        return [*self.trials, *self.outside]

    @property
    def candidates(self) -> int:
        """How many candidates were trained."""
        return sum(trial.is_trained_candidate for trial in self.trials)

    @property
    def saving(self) -> Saving:
        """What early stopping saved."""
        return saving(self.all_trials, rule=self.inputs.stopping)

    @property
    def controls_trained(self) -> int:
        """How many random networks were trained to the end."""
        return sum(isinstance(trial.outcome, Finished) for trial in self.controls)


def summarise(study: StoredStudy) -> Summary:
    """Read a study whose budget is resolved."""
    inputs, limits, images = study.inputs, study.limits, study.inputs.data.confirmation
    trials, outside, scores = study.trials(), study.outside(), study.scores()
    ended, plan, everything = study.fact("ended"), study.plan(), [*trials, *outside]
    finalists = plan.keys if plan else None
    confirmed = confirmations(everything, scores, finalists)
    begun = plan is not None and plan.candidates == sum(t.is_trained_candidate for t in trials)
    return Summary(
        name=study.name,
        inputs=inputs,
        passport=study.device.passport,
        limits=limits,
        trials=trials,
        outside=outside,
        lost=study.lost_numbers(),
        front=pareto_front(everything, limits),
        confirmed=confirmed,
        verdict=judge(everything, scores, limits, images=images, finalists=finalists),
        ended=ended.why if ended else None,
        controls=study.controls(),
        confirmation=confirmation_progress(plan, confirmed, scores, images=images) if plan and begun else None,
        scores=scores,
        untimed=study.given_up_probes(),
    )


_COLUMNS = [
    *("trial", "outcome", "published", "repeats", "key", TOP1.name, "balanced_pct", "latency_kind"),
    *("latency_ms", "latency_low_ms", "latency_high_ms", "pairs", "visits", "flags", "within_budget", "on_front"),
    *("params", "macs", "confirmed_pct", "confirmed_balanced_pct", "confirmed_seeds", "curve", "seconds"),
    *("seed", "reason", "message", "architecture"),
]
_WHOLE = ("trial", "params", "macs", "pairs", "visits", "repeats", "confirmed_seeds")


def trials_frame(summary: Summary) -> pd.DataFrame:
    """One row per trial, in order of number; docs/files.md explains the columns."""
    import pandas as pd  # late: `status` makes no frame

    on_front = set(map(id, summary.front))
    confirmed = {c.trial.arch.key: c for c in summary.confirmed}
    epochs = whole_training(summary.all_trials)
    rows = [
        {
            "trial": t.number,
            "outcome": outcome_name(t.outcome),
            "published": t.published,
            "repeats": t.repeats,
            "key": t.arch.key,
            **_timed(t, summary.limits),
            **_result(t.outcome, epochs),
            "on_front": id(t) in on_front,
            "params": t.params,
            "macs": t.macs,
            **_confirmed(confirmed.get(t.arch.key)),
            "seconds": t.seconds,
            "seed": t.seed,
            "architecture": json.dumps(t.arch.to_json(), separators=(",", ":")),
        }
        for t in summary.all_trials
    ]
    rows += [{"trial": number, "outcome": "failed", "reason": "interrupted"} for number in summary.lost]
    frame = pd.DataFrame(rows, columns=_COLUMNS).astype(dict.fromkeys(_WHOLE, "Int64"))
    return frame.sort_values("trial", kind="stable", ignore_index=True, na_position="first")


def control_frame(summary: Summary) -> pd.DataFrame:
    """One row per random network, in the order drawn, with the columns of `trials_frame` that apply."""
    alone = replace(summary, trials=summary.controls, outside=[], lost=[], front=[], confirmed=[])
    frame = trials_frame(alone).rename(columns={"published": "control"})
    frame["control"] = [trial.name for trial in summary.controls]
    return frame.drop(columns=["trial", "on_front", "confirmed_pct", "confirmed_balanced_pct", "confirmed_seeds"])


def _timed(trial: Trial, limits: Limits) -> dict[str, Any]:
    latency = trial.latency
    if latency is None:
        return {}
    row: dict[str, Any] = {
        "latency_kind": latency_kind(latency),
        "latency_ms": latency.latency_ms,
        "latency_low_ms": latency.low_ms,
        "latency_high_ms": latency.high_ms,
        "within_budget": limits.allow_trial(trial),
    }
    if isinstance(latency, Measurement):
        row |= {"pairs": latency.pairs, "visits": latency.visits, "flags": " ".join(latency.flags)}
    return row


def _confirmed(confirmed: Confirmed | None) -> dict[str, Any]:
    if confirmed is None:
        return {}
    return {
        "confirmed_pct": confirmed.mean_pct,
        "confirmed_balanced_pct": confirmed.mean_balanced_pct,
        "confirmed_seeds": len(confirmed.scores),
    }


def _result(outcome: Outcome, epochs: int) -> dict[str, Any]:
    match outcome:
        case Finished(score=accuracy, curve=curve, balanced=balanced):
            return {TOP1.name: accuracy, "balanced_pct": balanced, "curve": _curve(curve)}
        case Stopped(curve=curve):
            return {"curve": _curve(curve), "reason": f"stopped after epoch {len(curve)} of {epochs}"}
        case Failed(reason=reason, message=message):
            return {"reason": reason, "message": message}
        case Infeasible():
            return {"reason": "over the budget"}


def _curve(curve: Sequence[float]) -> str:
    return " ".join(f"{pct:.2f}" for pct in curve)
