"""Commands that read a study."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from mvit2_search.cli.options import (
    echo_json,
    formulation_option,
    json_option,
    results_option,
    study_argument,
    study_folder,
)
from mvit2_search.records import INPUT_KINDS, PRECISIONS, TARGETS, CoreMLOptions

if TYPE_CHECKING:
    from mvit2_search.records import FormulationName, InputKind, Precision, Target
    from mvit2_search.report import Summary
    from mvit2_search.verdict import Confirmed, Difference


@click.command()
@study_argument
@results_option
@json_option
def status(study: str, results: Path, as_json: bool) -> None:
    """Say how far a study is and what it has found, also while it runs.

    STUDY is a study's name, or its folder.

    \b
    Example:
        mvit2-search status first
    """
    from mvit2_search.api import read_study
    from mvit2_search.report.sentences import (
        budget_sentence,
        device_sentence,
        progress_sentence,
        verdict_sentences,
    )

    summary = read_study(study_folder(study, results))
    if as_json:
        echo_json(_status_json(summary))
        return
    click.echo(f"Study {summary.name}: {progress_sentence(summary)}")
    for line in [budget_sentence(summary), *verdict_sentences(summary), device_sentence(summary.passport)]:
        click.echo(line)


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
    click.echo(str(folder / "report.html"))


@click.command()
@study_argument
@click.option("--trial", type=click.IntRange(min=0), help="Number of the trial; default: the study's pick.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["yaml", "onnx", "mlpackage"]),
    default="yaml",
    show_default=True,
    help="The architecture, or its network with random weights, to be timed.",
)
@formulation_option
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default=CoreMLOptions().precision,
    show_default=True,
    help="Of an mlpackage.",
)
@click.option(
    "--target",
    type=click.Choice(TARGETS),
    default=CoreMLOptions().target,
    show_default=True,
    help="The oldest system that is to run an mlpackage.",
)
@click.option(
    "--input",
    "input_kind",
    type=click.Choice(INPUT_KINDS),
    default=CoreMLOptions().input_kind,
    show_default=True,
    help="What an mlpackage takes: numbers from 0 to 1, or an image of 8 bits.",
)
@results_option
@json_option
def export(
    study: str,
    trial: int | None,
    file_format: str,
    formulation: FormulationName,
    precision: Precision,
    target: Target,
    input_kind: InputKind,
    results: Path,
    as_json: bool,
) -> None:
    """Write the architecture of a trial as YAML, or as a network to time on a device.

    STUDY is a study's name, or its folder. By default the architecture is the fastest under the budget
    whose confirmed accuracy is within noise of the best. The formulations of a network compute the same;
    which is the fastest on a phone is for you to time.

    \b
    Example:
        mvit2-search export first
        mvit2-search export first --format mlpackage --formulation layer_norm
        mvit2-search export first --format mlpackage --target iOS18 --input image
    """
    from mvit2_search.api import export_architecture, export_untrained

    _check_export_options(file_format)
    folder = study_folder(study, results)
    exported = export_architecture(folder, trial)
    if file_format != "yaml":
        options = CoreMLOptions(precision=precision, target=target, input_kind=input_kind)
        exported = export_untrained(
            folder,
            exported.trial,
            format=file_format,
            formulation=formulation,
            options=options if file_format == "mlpackage" else None,
        )
    if as_json:
        chosen = exported.trial
        echo_json(
            {"path": str(exported.path), "trial": chosen.number, "key": chosen.arch.key, "params": chosen.params}
        )
        return
    click.echo(str(exported.path))


def _check_export_options(file_format: str) -> None:
    """An option that would change nothing is a mistake of whoever gave it."""
    source = click.get_current_context().get_parameter_source
    if file_format == "yaml" and source("formulation") is not ParameterSource.DEFAULT:
        raise click.UsageError("--formulation goes with --format onnx or mlpackage")
    for option, name in (("--precision", "precision"), ("--target", "target"), ("--input", "input_kind")):
        if file_format != "mlpackage" and source(name) is not ParameterSource.DEFAULT:
            raise click.UsageError(f"{option} goes with --format mlpackage")


def _status_json(summary: Summary) -> dict[str, Any]:
    verdict = summary.verdict
    return {
        "study": summary.name,
        "ended": summary.ended,
        "candidates_trained": summary.candidates,
        "trials": len(summary.trials),
        "budget": summary.budget,
        "budget_ms": summary.limits.latency_ms,
        "latencies_are": summary.passport.kind,
        "front": [t.number for t in summary.front],
        "best": _confirmed_json(verdict.best if verdict else None),
        "searched": _confirmed_json(verdict.searched if verdict else None),
        "published": _confirmed_json(verdict.published if verdict else None),
        "gain_points": _gain_json(verdict.gain if verdict else None),
        "export": _confirmed_json(verdict.pick if verdict else None),
    }


def _gain_json(gain: Difference | None) -> dict[str, Any] | None:
    """An unbounded end is null."""
    if gain is None:
        return None
    low, high = (bound if math.isfinite(bound) else None for bound in (gain.low, gain.high))
    return {"mean": gain.mean, "low": low, "high": high, "seeds": gain.pairs}


def _confirmed_json(confirmed: Confirmed | None) -> dict[str, Any] | None:
    if confirmed is None:
        return None
    trial = confirmed.trial
    return {
        "trial": trial.number,
        "baseline": trial.baseline,
        "key": trial.arch.key,
        "confirmed_pct": confirmed.mean_pct,
        "latency_ms": confirmed.latency_ms,
        "params": trial.params,
    }
