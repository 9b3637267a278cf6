"""`mvit2-search bench`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mvit2_search.cli.options import (
    device_option,
    echo_json,
    formulation_option,
    json_option,
    results_option,
)

if TYPE_CHECKING:
    from mvit2_search.bench.tables import Table
    from mvit2_search.records import FormulationName, Passport


@click.group()
def bench() -> None:
    """Time the published networks here, beside what is published of them.

    Latencies are measured as in a search and shared with the studies in the same folder of results: what
    is there already is not measured again.

    \b
    Example:
        mvit2-search bench models
        mvit2-search bench attention
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
    from mvit2_search.bench import bench_models, write_models
    from mvit2_search.bench.rows import network_rows, published_rows
    from mvit2_search.bench.tables import MODELS_NOTE, models_table, published_table
    from mvit2_search.latency import make_device

    done = bench_models(make_device(device), results=results, formulation=formulation, tell=_tell)
    files = write_models(done, results)
    if as_json:
        _echo_json(files, done.passport, networks=network_rows(done), published=published_rows())
        return
    _echo_tables(
        files,
        done.passport,
        [("Measured here", MODELS_NOTE, models_table(done)), ("Published", "", published_table())],
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
    from mvit2_search.bench import bench_attention, write_attention
    from mvit2_search.bench import rows as of
    from mvit2_search.bench import tables as shown
    from mvit2_search.latency import make_device

    done = bench_attention(make_device(device), results=results, tell=_tell)
    files = write_attention(done, results)
    if as_json:
        rows = {"networks": of.backbone_rows(done), "mixers": of.mixer_rows(done), "slopes": of.slope_rows(done)}
        _echo_json(files, done.passport, **rows)
        return
    _echo_tables(
        files,
        done.passport,
        [
            ("The same backbone with each mixer", shown.BACKBONES_NOTE, shown.backbones_table(done)),
            ("Each mixer alone", shown.MIXERS_NOTE, shown.mixers_table(done)),
            ("Growth with the number of tokens", shown.SLOPES_NOTE, shown.slopes_table(done)),
        ],
    )


def _tell(text: str) -> None:
    """Progress, which is no part of the output."""
    click.echo(text, err=True)


def _echo_json(files: list[Path], passport: Passport, **rows: list[dict[str, object]]) -> None:
    echo_json({"passport": asdict(passport), **rows, "files": [str(path) for path in files]})


def _echo_tables(files: list[Path], passport: Passport, tables: list[tuple[str, str, Table]]) -> None:
    from mvit2_search.report.sentences import device_sentence

    for title, note, table in tables:
        click.echo(f"\n{title}\n" + (f"{note}\n" if note else ""))
        for line in _lines(table):
            click.echo(line)
    click.echo(f"\n{device_sentence(passport)}")
    for path in files:
        click.echo(str(path))


def _lines(table: Table) -> list[str]:
    """Columns as wide as their widest cell; those that begin with a number stand to the right."""
    columns = [[name, *(row[name] for row in table)] for name in table[0]]
    return [line.rstrip() for line in map("  ".join, zip(*map(_aligned, columns), strict=True))]


def _aligned(column: list[str]) -> list[str]:
    width = max(map(len, column))
    first = next((cell for cell in column[1:] if cell), "")
    return [cell.rjust(width) if first[:1].isdigit() else cell.ljust(width) for cell in column]
