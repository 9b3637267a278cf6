"""`mvit2-search bench`, and how its results are printed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mvit2_search.cli.options import Place, device_option, formulation_option, json_option, results_option
from mvit2_search.cli.output import echo_json, say

if TYPE_CHECKING:
    from mvit2_search.records import FormulationName
    from mvit2_search.report.bench_tables import Table, Titled

space_option = click.option(
    "--space",
    type=Place(),
    default="blocks",
    show_default=True,
    help="Where networks are drawn from: a shipped space or a file.",
)
seed_option = click.option("--seed", default=0, show_default=True, help="Of the networks that are drawn.")


@click.group()
def bench() -> None:
    """Time networks on a device, beside what is published or predicted of them.

    Latencies are measured as in a search and shared with the studies in the same folder of results: what
    is there already is not measured again.

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
    """MobileViTv2 at its seven widths and MobileViT in its three sizes.

    Parameters, multiply-adds and the latency on this device, beside published accuracies and latencies
    with their sources. Writes models.csv and models.html to the folder bench in the results.

    \b
    Example:
        mvit2-search bench models
        mvit2-search bench models --formulation layer_norm --json
    """
    from mvit2_search.measure.bench import bench_models
    from mvit2_search.measure.devices.registry import make_device
    from mvit2_search.records import device_sentence
    from mvit2_search.report.bench_files import write_models
    from mvit2_search.report.bench_tables import models_tables, network_rows, published_rows

    done = bench_models(make_device(device), results=results, formulation=formulation, tell=tell)
    show(
        write_models(done, results),
        as_json=as_json,
        data={"passport": asdict(done.passport), "networks": network_rows(done), "published": published_rows()},
        tables=models_tables(done),
        sentences=[device_sentence(done.passport)],
    )


@bench.command()
@device_option
@results_option
@json_option
def attention(device: str, results: Path, as_json: bool) -> None:
    """Multi-head attention, Linformer and separable self-attention.

    The latency of MobileViTv2-1.0 with each of them, beside the MobileViTv2 paper's comparison; then of each
    alone over 64 to 4,096 tokens, with the log-log slope from 1,024 tokens on. Writes three tables and
    attention.html to the folder bench in the results.

    \b
    Example:
        mvit2-search bench attention
    """
    from mvit2_search.measure.bench import bench_attention
    from mvit2_search.measure.devices.registry import make_device
    from mvit2_search.records import device_sentence
    from mvit2_search.report.bench_files import write_attention
    from mvit2_search.report.bench_tables import attention_tables, backbone_rows, mixer_rows, slope_rows

    done = bench_attention(make_device(device), results=results, tell=tell)
    show(
        write_attention(done, results),
        as_json=as_json,
        data={
            "passport": asdict(done.passport),
            "networks": backbone_rows(done),
            "mixers": mixer_rows(done),
            "slopes": slope_rows(done),
        },
        tables=attention_tables(done),
        sentences=[device_sentence(done.passport)],
    )


@bench.command()
@device_option
@click.option("--against", required=True, help="What to compare with; takes the same as --device.")
@space_option
@click.option("--networks", type=click.IntRange(min=0), default=50, show_default=True, help="Networks to draw.")
@seed_option
@results_option
@json_option
def rank(device: str, against: str, space: str, networks: int, seed: int, results: Path, as_json: bool) -> None:
    """Whether one device orders networks as another does.

    Rank correlations over the published networks and over networks of a space, also of what multiply-adds do not
    explain. Either side is a device here, or estimate:iphone12, or published:iphone12 and other phones with
    published figures, or cache:DIGEST, what the results hold of a device that is not here. Writes two tables and
    a page to the folder bench in the results.

    \b
    Example:
        mvit2-search bench rank --device host --against published:iphone12
        mvit2-search bench rank --device host --against executorch --networks 30
    """
    from mvit2_search.measure.rank import bench_rank
    from mvit2_search.report.bench_files import write_rank
    from mvit2_search.report.bench_tables import correlation_rows, pair_rows, phones_table, rank_tables

    done = bench_rank(device, against, results=results, space=space, networks=networks, seed=seed, tell=tell)
    show(
        write_rank(done, results),
        as_json=as_json,
        data={
            "sources": {side.name: side.words for side in (done.a, done.b)},
            "notes": done.notes,
            "correlations": correlation_rows(done),
            "networks": pair_rows(done),
            "phones": phones_table(),
        },
        tables=rank_tables(done),
        sentences=[*done.notes, *(f"{side.name}: {side.words}" for side in (done.a, done.b))],
    )


def tell(text: str) -> None:
    """Show progress, which is no part of the output."""
    say(text, err=True)


def show(
    files: Iterable[Path],
    *,
    as_json: bool,
    data: dict[str, object],
    tables: Iterable[Titled],
    sentences: Iterable[str],
) -> None:
    """Print `data` as JSON, or the tables and under them the sentences; then the names of the files."""
    names = list(map(str, files))
    if as_json:
        echo_json({**data, "files": names})
        return
    for title, note, table in tables:
        say("", title, *([note] if note else []), "", *_lines(table))
    say("", *sentences, *names)


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
