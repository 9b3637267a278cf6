"""Commands that read a study: `mvit2-search status` and `report`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mvit2_search.cli.options import json_option, results_option, study_argument, study_folder
from mvit2_search.cli.output import echo_json, explain, finite, say

if TYPE_CHECKING:
    from mvit2_search.analysis.confirmation import Confirmed
    from mvit2_search.analysis.paired import Difference
    from mvit2_search.report.tables import Summary


_NOTHING: dict[str, Any] = {  # what `status --json` prints for a study whose budget is not known yet
    **dict.fromkeys(("ended", "stopping", "budget", "budget_ms", "latencies_are")),
    **dict.fromkeys(("candidates_trained", "trials", "controls_trained"), 0),
    "front": [],
    "given_up": [],
    "provisional": True,
    **dict.fromkeys(("best", "searched", "published", "gain_points", "export", "fastest", "fastest_costs_points")),
}


@click.command()
@study_argument
@results_option
@json_option
def status(study: str, results: Path, as_json: bool) -> None:
    """Show the progress, time left and results of a study, while it runs and afterwards.

    STUDY is the name of a study, or its folder.

    \b
    Example:
        mvit2-search status first
    """
    from mvit2_search.api import read_state
    from mvit2_search.records import device_sentence
    from mvit2_search.report.progress import state_json, state_sentences
    from mvit2_search.report.sentences import (
        answer_sentences,
        budget_sentence,
        progress_sentence,
        training_sentences,
    )

    state = read_state(study_folder(study, results))
    summary = state.summary
    if as_json:
        echo_json({"study": state.name, **state_json(state), **(_status_json(summary) if summary else _NOTHING)})
        return
    progress = progress_sentence(summary) if summary else "nothing has been recorded yet."
    explain(f"Study {state.name}: {progress}", *state_sentences(state))
    if summary is not None:
        device = device_sentence(summary.passport)
        explain(budget_sentence(summary), *answer_sentences(summary), device, *training_sentences(summary))


@click.command()
@study_argument
@results_option
def report(study: str, results: Path) -> None:
    """Rewrite report.html, pareto.csv and study.yaml of a study.

    STUDY is the name of a study, or its folder. A study with random networks has control.csv as well.

    \b
    Example:
        mvit2-search report first
    """
    from mvit2_search.api import refresh
    from mvit2_search.store import open_study

    folder = study_folder(study, results)
    refresh(open_study(folder))
    say(str(folder / "report.html"))


def _status_json(summary: Summary) -> dict[str, Any]:
    verdict, names = summary.verdict, ("best", "searched", "published", "fastest")
    confirmed = {name: _confirmed_json(getattr(verdict, name, None)) for name in names}
    return {
        "ended": summary.ended,
        "provisional": summary.provisional,
        "candidates_trained": summary.candidates,
        "given_up": [t.name for t in [*summary.all_trials, *summary.controls] if t.is_given_up],
        "trials": len(summary.trials),
        "stopping": {
            **asdict(summary.saving),
            "all_epochs": summary.saving.all_epochs,
            "audit": _audit_json(summary),
        },
        "controls_trained": summary.controls_trained,
        "budget": summary.budget,
        "budget_ms": summary.limits.latency_ms,
        "latencies_are": summary.passport.kind,
        "front": [t.name if t.number is None else t.number for t in summary.front],
        **confirmed,
        "export": confirmed["best"],
        "gain_points": _difference_json(verdict.gain if verdict else None),
        "fastest_costs_points": _difference_json(verdict.lead if verdict else None),
    }


def _audit_json(summary: Summary) -> dict[str, Any] | None:
    if (audit := summary.audit) is None:
        return None
    return {**asdict(audit), "vouches": audit.vouches}


def _difference_json(difference: Difference | None) -> dict[str, Any] | None:
    """An unbounded end is null."""
    if difference is None:
        return None
    return {
        "mean": difference.estimate,
        "uncorrected": difference.mean,
        "low": finite(difference.low),
        "high": finite(difference.high),
        "seeds": difference.pairs,
        "compared": difference.compared,
    }


def _confirmed_json(confirmed: Confirmed | None) -> dict[str, Any] | None:
    if confirmed is None:
        return None
    trial = confirmed.trial
    return {
        "trial": trial.number,
        "published": trial.published,
        "key": trial.arch.key,
        "confirmed_pct": confirmed.mean_pct,
        "confirmed_balanced_pct": confirmed.mean_balanced_pct,
        "latency_ms": confirmed.latency_ms,
        "params": trial.params,
    }
