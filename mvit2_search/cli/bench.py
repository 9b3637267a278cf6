"""`mvit2-search bench`, and how its results are printed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mvit2_search.cli.options import Place, device_option, formulation_option, json_option, option, results_option
from mvit2_search.cli.output import echo_json, say

if TYPE_CHECKING:
    from mvit2_search.records import FormulationName
    from mvit2_search.report.bench_files import BenchReport
    from mvit2_search.report.bench_tables import Table

space_option = option(
    "--space",
    "blocks",
    "Search space to draw networks from: width, blocks, attention, or a YAML file.",
    type=Place(),
)
seed_option = option("--seed", 0, "Random seed of the networks that are drawn.")


@click.group()
def bench() -> None:
    """Time published networks on a device, and compare devices.

    Latencies are measured as in a search, and shared with the studies in the same results folder. A known latency
    is not measured again.

    \b
    Example:
        mvit2-search bench models
        mvit2-search bench attention
        mvit2-search bench rank --device host --against estimate:iphone12
    """


@bench.command()
@device_option
@formulation_option
@results_option
@json_option
def models(device: str, formulation: FormulationName, results: Path, as_json: bool) -> None:
    """Time MobileViTv2 in its seven widths and MobileViT in its three sizes.

    Prints parameters, multiply-adds and latency beside the published accuracies and latencies, with their sources.
    Writes models.csv and models.html to the folder bench in the results.

    \b
    Example:
        mvit2-search bench models
        mvit2-search bench models --formulation layer_norm --json
    """
    from mvit2_search.measure.bench import bench_models
    from mvit2_search.measure.devices.registry import make_device
    from mvit2_search.report.bench_files import models_report

    done = bench_models(make_device(device), results=results, formulation=formulation, tell=tell)
    report = models_report(done)
    show(report, report.write(results), as_json=as_json)


@bench.command()
@device_option
@results_option
@json_option
def attention(device: str, results: Path, as_json: bool) -> None:
    """Time multi-head, Linformer and separable attention.

    Times MobileViTv2-1.0 with each of them, beside the MobileViTv2 paper's comparison. Then times each alone with
    64 to 4,096 tokens; the slope of log latency over log tokens is from 1,024 tokens on. Writes three tables and
    attention.html to the folder bench in the results.

    \b
    Example:
        mvit2-search bench attention
    """
    from mvit2_search.measure.bench import bench_attention
    from mvit2_search.measure.devices.registry import make_device
    from mvit2_search.report.bench_files import attention_report

    report = attention_report(bench_attention(make_device(device), results=results, tell=tell))
    show(report, report.write(results), as_json=as_json)


@bench.command()
@device_option
@click.option("--against", required=True, help="The other side of the comparison: one of the above.")
@space_option
@option("--networks", 50, "Number of networks to draw from the space.", type=click.IntRange(min=0))
@seed_option
@results_option
@json_option
def rank(device: str, against: str, space: str, networks: int, seed: int, results: Path, as_json: bool) -> None:
    """Check whether two devices rank networks alike.

    Prints rank correlations over the published networks and over random networks of a space, also of the part of
    the latency that multiply-adds do not explain. Each side is a device, an estimate (estimate:iphone12), the
    published figures of a phone (published:iphone12), or the known latencies of a device that is elsewhere
    (cache:DIGEST). Writes two tables and a page to the folder bench in the results.

    \b
    Example:
        mvit2-search bench rank --device host --against published:iphone12
        mvit2-search bench rank --device host --against executorch --networks 30
    """
    from mvit2_search.measure.rank import bench_rank
    from mvit2_search.report.bench_files import rank_report

    done = bench_rank(device, against, results=results, space=space, networks=networks, seed=seed, tell=tell)
    report = rank_report(done)
    show(report, report.write(results), as_json=as_json)


def tell(text: str) -> None:
    """Show progress, which is no part of the output."""
    say(text, err=True)


def show(report: BenchReport, files: Sequence[Path], *, as_json: bool) -> None:
    """Print the data as JSON, or the tables and under them the sentences; then the names of the files."""
    names = list(map(str, files))
    if as_json:
        echo_json({**report.data, "files": names})
        return
    for title, note, table in report.tables:
        say("", title, *([note] if note else []), "", *_lines(table))
    say("", *report.sentences, *names)


def _lines(table: Table) -> list[str]:
    """Columns as wide as their widest cell; those that begin with a number are right-aligned."""
    if not table:
        return ["None."]
    columns = [[name, *(row[name] for row in table)] for name in table[0]]
    return [line.rstrip() for line in map("  ".join, zip(*map(_aligned, columns), strict=True))]


def _aligned(column: list[str]) -> list[str]:
    width = max(map(len, column))
    first = next((cell for cell in column[1:] if cell), "")
    return [cell.rjust(width) if first[:1].isdigit() else cell.ljust(width) for cell in column]
