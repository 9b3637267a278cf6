"""A study's records in one summary, as plain tables, and beside random networks. Draws nothing, needs no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mvit2_search.analysis.confirmation import (
    ConfirmationProgress,
    Confirmed,
    confirmation_progress,
    confirmations,
)
from mvit2_search.analysis.paired import sampling_error_pct
from mvit2_search.analysis.pareto import hypervolume, hypervolume_curve, pareto_front
from mvit2_search.analysis.verdict import Verdict, judge
from mvit2_search.errors import StorageError
from mvit2_search.records import (
    CertificateOf,
    Failed,
    Finished,
    FullTraining,
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
from mvit2_search.records.certificate import Check
from mvit2_search.stopping import Audit, Saving, make_stopping_rule, saving, whole_training
from mvit2_search.stopping.curves import curves_of
from mvit2_search.store import StoredStudy
from mvit2_search.store.certificates import read_check

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """Everything that a report shows of a study."""

    name: str
    inputs: Inputs
    passport: Passport
    limits: Limits
    trials: list[Trial]
    outside: list[Trial]  # published widths that the space cannot express
    lost: list[int]  # numbers of trials that were killed before they had an architecture
    front: list[Trial]
    confirmed: list[Confirmed]
    verdict: Verdict | None
    ended: str | None  # why the study is finished, or None while there is more to do
    controls: list[Trial] = field(default_factory=list)  # random networks to compare with, trained or not
    confirmation: ConfirmationProgress | None = None  # with all candidates so far; None before it has begun
    scores: list[Score] = field(default_factory=list)
    untimed: list[str] = field(default_factory=list)  # keys of networks whose timing always ended the search
    trainings: list[FullTraining] = field(default_factory=list)  # the most accurate first
    certificate: CertificateOf | None = None  # of the short trainings
    check: Check | None = None  # that the certificate is of, where it is still there

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
    def audit(self) -> Audit | None:
        """How far the stopping rule may be trusted here; None for one that makes no promise."""
        return make_stopping_rule(self.inputs.stopping).audit(curves_of(self.all_trials, self.limits))

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
    certificate: CertificateOf | None = study.fact("certificate")
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
        trainings=study.trainings(),
        certificate=certificate,
        check=_check_of(study.folder.parent / certificate.study) if certificate else None,
    )


def _check_of(folder: Path) -> Check | None:
    """None where it is gone or damaged: its certificate is in the study."""
    try:
        return read_check(folder)
    except StorageError:
        return None


def trainings_frame(summary: Summary) -> pd.DataFrame:
    """One row per full training, the most accurate first."""
    import pandas as pd

    names = {trial.arch.key: trial.name for trial in summary.all_trials}
    metric = summary.inputs.metric.short
    return pd.DataFrame(
        [
            {
                "network": names.get(one.key, one.key),
                f"{metric} %": one.score,
                "± sampling": sampling_error_pct(one.score, one.images),
                "images": one.images,
                "data": one.data,
                "epochs": one.epochs,
                "best epoch": one.epoch,
                "pixels": one.image_size,
                "seed": one.seed,
                "started from": "random weights" if one.init is None else f"weights {one.init[:12]}",
                "folder": one.folder,
            }
            for one in summary.trainings
        ]
    )


_COLUMNS = [  # the metric of the task stands after the key
    *("trial", "outcome", "published", "repeats", "key", "balanced_pct", "latency_kind"),
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
    epochs, metric = whole_training(summary.all_trials), summary.inputs.metric.name
    rows = [
        {
            "trial": t.number,
            "outcome": outcome_name(t.outcome),
            "published": t.published,
            "repeats": t.repeats,
            "key": t.arch.key,
            **_timed(t, summary.limits),
            **_result(t.outcome, epochs, metric),
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
    after = _COLUMNS.index("key") + 1
    columns = [*_COLUMNS[:after], metric, *_COLUMNS[after:]]
    frame = pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(_WHOLE, "Int64"))
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
    return {
        "confirmed_pct": confirmed and confirmed.mean_pct,
        "confirmed_balanced_pct": confirmed and confirmed.mean_balanced_pct,
        "confirmed_seeds": confirmed and len(confirmed.scores),
    }


def _result(outcome: Outcome, epochs: int, metric: str) -> dict[str, Any]:
    match outcome:
        case Finished(score=accuracy, curve=curve, balanced=balanced, audited=audited):
            reason = (
                audited and f"would have been stopped after epoch {audited.epoch}, as at most {audited.bound:.2f}"
            )
            return {metric: accuracy, "balanced_pct": balanced, "curve": _curve(curve), "reason": reason}
        case Stopped(curve=curve):
            return {"curve": _curve(curve), "reason": f"stopped after epoch {len(curve)} of {epochs}"}
        case Failed(reason=reason, message=message):
            return {"reason": reason, "message": message}
        case Infeasible():
            return {"reason": "over the budget"}


def _curve(curve: Sequence[float]) -> str:
    return " ".join(f"{pct:.2f}" for pct in curve)


# The search beside random networks

_ORDERS, _SPLITS = 200, 2_000
_NOWHERE = (-np.inf, np.inf)  # accuracy and latency of what adds nothing to any front

Points = list[tuple[float, float]]


class Band(NamedTuple):
    """Hypervolumes of the random networks after 1, 2, ... of them: 5 %, 50 % and 95 % of their orders."""

    low: tuple[float, ...]
    median: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Hypervolumes of the first `networks` candidates and of as many random networks.

    `low` to `high` is where 95 % of the differences lie that chance alone gives, by a permutation test: the
    networks of both are dealt out at random, again and again.
    """

    networks: int
    search: float
    control: float
    low: float
    high: float

    @property
    def distinguishable(self) -> bool:
        return not self.low <= self.search - self.control <= self.high


@dataclass(frozen=True, kw_only=True, slots=True)
class HypervolumeTable:
    """Hypervolumes in accuracy points times ms."""

    reference: tuple[float, float]  # accuracy in percent and latency in ms
    search: tuple[float, ...]  # after 1, 2, ... trained candidates; stopped ones count as trained
    band: Band | None
    comparison: Comparison | None


def hypervolume_table(summary: Summary) -> HypervolumeTable | None:
    """None before a published width and a candidate are trained."""
    reference = _reference(summary)
    search = [_point(t) for t in summary.trials if t.is_trained_candidate]
    if reference is None or not search:
        return None
    published = {t.number for t in summary.trials if t.published}  # credited to neither side
    finished = [t for t in summary.controls if isinstance(t.outcome, Finished) and t.repeats not in published]
    controls = [_point(trial) for trial in finished]
    return HypervolumeTable(
        reference=reference,
        search=tuple(hypervolume_curve(*zip(*search, strict=True), reference=reference)),
        band=_band(controls, reference) if controls else None,
        comparison=_comparison(search, controls, reference) if controls else None,
    )


def _reference(summary: Summary) -> tuple[float, float] | None:
    """Ten points below the smallest published width that was trained, or chance level; and the budget.

    Nobody wants less accurate networks. With chance level as the reference, the fastest of them would decide the
    hypervolume.
    """
    widths = [t for t in summary.all_trials if t.published and isinstance(t.outcome, Finished)]
    if not widths:
        return None
    smallest, _ = _point(min(reversed(widths), key=lambda t: t.params))
    return max(100 / len(summary.inputs.data.classes), smallest - 10), summary.limits.latency_ms


def _point(trial: Trial) -> tuple[float, float]:
    finished = trial.outcome
    return (finished.score, finished.latency.latency_ms) if isinstance(finished, Finished) else _NOWHERE


def _band(controls: Points, reference: tuple[float, float]) -> Band:
    rng, points = np.random.default_rng(0), np.array(controls)
    curves = [hypervolume_curve(*rng.permutation(points).T, reference=reference) for _ in range(_ORDERS)]
    return Band(*map(tuple, np.quantile(curves, [0.05, 0.5, 0.95], axis=0).tolist()))


def _comparison(search: Points, controls: Points, reference: tuple[float, float]) -> Comparison:
    networks = min(len(search), len(controls))
    pool = np.array(search[:networks] + controls[:networks])

    def volumes(points: np.ndarray) -> list[float]:
        return [hypervolume(*half.T, reference=reference) for half in np.split(points, 2)]

    rng = np.random.default_rng(0)
    dealt = np.array([volumes(rng.permutation(pool)) for _ in range(_SPLITS)])
    low, high = np.quantile(dealt[:, 0] - dealt[:, 1], [0.025, 0.975]).tolist()
    found, control = volumes(pool)
    return Comparison(networks=networks, search=found, control=control, low=low, high=high)
