"""A study's records as plain tables. Draws nothing and needs no torch."""

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
    Control,
    Ended,
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
from mvit2_search.stopping.saving import Saving, saving, whole_training
from mvit2_search.store import StoredStudy

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """Everything that a report shows of a study, in memory.

    Attributes:
        budget: as it was asked for, `12ms` or `mobilevitv2-0.75`.
        controls: random architectures to compare the search with, trained or not.
        lost: numbers of trials that were killed before they had an architecture.
        untimed: keys of networks whose timing, before one was chosen, ended the search each time.
        ended: why the search ended, or None while there is more to do.
        confirmation: how far the confirmation of all candidates so far is; None where it has not begun.
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
        """Whether what is confirmed so far may still change."""
        return self.ended is None

    @property
    def budget(self) -> str:
        return self.inputs.latency_budget

    @property
    def all_trials(self) -> list[Trial]:
        """The trials and the published widths outside of the space."""
        return [*self.trials, *self.outside]

    @property
    def candidates(self) -> int:
        """How many candidates were trained."""
        return _trained(self.trials)

    @property
    def saving(self) -> Saving:
        """What stopping has saved."""
        return saving(self.all_trials, rule=self.inputs.stopping)

    @property
    def controls_trained(self) -> int:
        """How many random architectures were trained to the end."""
        return sum(isinstance(trial.outcome, Finished) for trial in self.controls)


def summarise(study: StoredStudy) -> Summary:
    """Read a study whose budget is resolved."""
    inputs, limits = study.inputs, study.limits
    ended: Ended | None = study.fact("ended")
    trials, outside, scores, plan = study.trials(), study.outside(), study.scores(), study.plan()
    finalists = plan.keys if plan else None
    confirmed = confirmations(study.all_trials(), scores, finalists)
    images = inputs.data.confirmation
    begun = plan is not None and plan.candidates == _trained(trials)
    return Summary(
        name=study.name,
        inputs=inputs,
        passport=study.device.passport,
        limits=limits,
        trials=trials,
        outside=outside,
        lost=study.lost_numbers(),
        front=pareto_front(study.all_trials(), limits),
        confirmed=confirmed,
        verdict=judge(study.all_trials(), scores, limits, images=images, finalists=finalists),
        ended=ended.why if ended else None,
        controls=study.controls(),
        confirmation=confirmation_progress(plan, confirmed, scores, images=images) if plan and begun else None,
        scores=scores,
        untimed=study.given_up_probes(),
    )


def _trained(trials: Sequence[Trial]) -> int:
    return sum(trial.is_trained_candidate for trial in trials)


def trials_frame(summary: Summary) -> pd.DataFrame:
    """One row per trial, in order of number; docs/files.md explains the columns."""
    import pandas as pd  # late: `status` makes no frame

    front = {(trial.number, trial.published) for trial in summary.front}
    confirmed = {c.trial.arch.key: c for c in summary.confirmed}
    epochs = whole_training(summary.all_trials)
    rows = [
        _row(t, summary.limits, (t.number, t.published) in front, confirmed.get(t.arch.key), epochs=epochs)
        for t in summary.all_trials
    ]
    rows += [{"trial": number, "outcome": "failed", "reason": "interrupted"} for number in summary.lost]
    frame = pd.DataFrame(rows, columns=_COLUMNS).sort_values(
        "trial", kind="stable", ignore_index=True, na_position="first"
    )
    return frame.astype(dict.fromkeys(_WHOLE, "Int64"))


def control_frame(summary: Summary) -> pd.DataFrame:
    """One row per random architecture, in the order drawn, with the columns of `trials_frame` that apply."""
    alone = replace(summary, trials=summary.controls, outside=[], lost=[], front=[], confirmed=[])
    frame = trials_frame(alone).rename(columns={"published": "control"})
    return frame.drop(columns=["trial", "on_front", "confirmed_pct", "confirmed_balanced_pct", "confirmed_seeds"])


_COLUMNS = [
    *("trial", "outcome", "published", "repeats", "key", "accuracy_pct", "balanced_pct", "latency_kind"),
    *("latency_ms", "latency_low_ms", "latency_high_ms", "pairs", "visits", "flags", "within_budget", "on_front"),
    *("params", "macs", "confirmed_pct", "confirmed_balanced_pct", "confirmed_seeds", "curve", "seconds"),
    *("seed", "reason", "message", "architecture"),
]
_WHOLE = ("trial", "params", "macs", "pairs", "visits", "repeats", "confirmed_seeds")


def _row(
    trial: Trial, limits: Limits, on_front: bool, confirmed: Confirmed | None, *, epochs: int
) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "outcome": outcome_name(trial.outcome),
        "published": trial.name if isinstance(trial.role, Control) else trial.published,
        "repeats": trial.repeats,
        "key": trial.arch.key,
        **_timed(trial, limits),
        **_result(trial.outcome, epochs),
        "on_front": on_front,
        "params": trial.params,
        "macs": trial.macs,
        "confirmed_pct": confirmed.mean_pct if confirmed else None,
        "confirmed_balanced_pct": confirmed.mean_balanced_pct if confirmed else None,
        "confirmed_seeds": len(confirmed.accuracy_pct) if confirmed else None,
        "seconds": trial.seconds,
        "seed": trial.seed,
        "architecture": json.dumps(trial.arch.to_json(), separators=(",", ":")),
    }


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


def _result(outcome: Outcome, epochs: int) -> dict[str, Any]:
    match outcome:
        case Finished(score=accuracy, curve=curve, balanced=balanced):
            reached = {"accuracy_pct": accuracy, "balanced_pct": balanced}
            return reached | {"curve": " ".join(f"{pct:.2f}" for pct in curve)}
        case Stopped(curve=curve):
            after = f"stopped after epoch {len(curve)} of {epochs}"
            return {"curve": " ".join(f"{pct:.2f}" for pct in curve), "reason": after}
        case Failed(reason=reason, message=message):
            return {"reason": reason, "message": message}
        case Infeasible():
            return {"reason": "over the budget"}
