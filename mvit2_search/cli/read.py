"""Commands that read a study."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mvit2_search.cli.options import echo_json, json_option, results_option, say, study_argument, study_folder

if TYPE_CHECKING:
    from mvit2_search.analysis.confirmation import Confirmed
    from mvit2_search.analysis.paired import Difference
    from mvit2_search.report.tables import Summary


_NOTHING: dict[str, Any] = {  # what `status --json` says of a study whose budget is not known yet
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
    """Say how far a study is, what it is doing, and what it has found, from its first moment on.

    STUDY is a study's name, or its folder.

    \b
    Example:
        mvit2-search status first
    """
    from mvit2_search.api import read_state
    from mvit2_search.records import device_sentence
    from mvit2_search.report.hypervolume import hypervolume_table
    from mvit2_search.report.progress import state_json, state_sentences
    from mvit2_search.report.sentences import (
        budget_sentence,
        control_sentences,
        missing_sentences,
        progress_sentence,
        saving_sentence,
        verdict_sentences,
    )

    state = read_state(study_folder(study, results))
    summary = state.summary
    if as_json:
        echo_json({"study": state.name, **state_json(state), **(_status_json(summary) if summary else _NOTHING)})
        return
    progress = progress_sentence(summary) if summary else "nothing has been recorded yet."
    for line in [f"Study {state.name}: {progress}", *state_sentences(state)]:
        say(line)
    if summary is None:
        return
    answer = [*verdict_sentences(summary), *control_sentences(hypervolume_table(summary))]
    for line in [budget_sentence(summary), *answer, device_sentence(summary.passport)]:
        say(line)
    for line in [saving_sentence(summary), *missing_sentences(summary)]:
        say(line)


@click.command()
@study_argument
@results_option
def report(study: str, results: Path) -> None:
    """Write a study's report.html, pareto.csv and study.yaml anew.

    STUDY is a study's name, or its folder.

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
    verdict = summary.verdict
    return {
        "ended": summary.ended,
        "provisional": summary.provisional,
        "candidates_trained": summary.candidates,
        "given_up": [t.name for t in [*summary.all_trials, *summary.controls] if t.is_given_up],
        "trials": len(summary.trials),
        "stopping": {**asdict(summary.saving), "all_epochs": summary.saving.all_epochs},
        "controls_trained": summary.controls_trained,
        "budget": summary.budget,
        "budget_ms": summary.limits.latency_ms,
        "latencies_are": summary.passport.kind,
        "front": [t.name if t.number is None else t.number for t in summary.front],
        "best": _confirmed_json(verdict.best if verdict else None),
        "searched": _confirmed_json(verdict.searched if verdict else None),
        "published": _confirmed_json(verdict.published if verdict else None),
        "gain_points": _gain_json(verdict.gain if verdict else None),
        "export": _confirmed_json(verdict.best if verdict else None),
        "fastest": _confirmed_json(verdict.fastest if verdict else None),
        "fastest_costs_points": _gain_json(verdict.lead if verdict else None),
    }


def _gain_json(gain: Difference | None) -> dict[str, Any] | None:
    """An unbounded end is null."""
    if gain is None:
        return None
    low, high = (bound if math.isfinite(bound) else None for bound in (gain.low, gain.high))
    return {
        "mean": gain.estimate,
        "uncorrected": gain.mean,
        "low": low,
        "high": high,
        "seeds": gain.pairs,
        "compared": gain.compared,
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
