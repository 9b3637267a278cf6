"""`mvit2-search bench`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mvit2_search.cli.options import (
    Place,
    device_option,
    echo_json,
    formulation_option,
    json_option,
    results_option,
    say,
)

if TYPE_CHECKING:
    from mvit2_search.records import FormulationName, Passport
    from mvit2_search.report.bench_tables import Table


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
    from mvit2_search.report.bench_files import write_models
    from mvit2_search.report.bench_tables import (
        MODELS_NOTE,
        models_table,
        network_rows,
        published_rows,
        published_table,
    )

    done = bench_models(make_device(device), results=results, formulation=formulation, tell=_tell)
    files = write_models(done, results)
    if as_json:
        _echo_json(files, done.passport, networks=network_rows(done), published=published_rows())
        return
    _echo_tables(
        files,
        [_device(done.passport)],
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
    from mvit2_search.measure.bench import bench_attention
    from mvit2_search.measure.devices.registry import make_device
    from mvit2_search.report import bench_tables as of
    from mvit2_search.report import bench_tables as shown
    from mvit2_search.report.bench_files import write_attention

    done = bench_attention(make_device(device), results=results, tell=_tell)
    files = write_attention(done, results)
    if as_json:
        rows = {"networks": of.backbone_rows(done), "mixers": of.mixer_rows(done), "slopes": of.slope_rows(done)}
        _echo_json(files, done.passport, **rows)
        return
    _echo_tables(
        files,
        [_device(done.passport)],
        [
            ("The same backbone with each mixer", shown.BACKBONES_NOTE, shown.backbones_table(done)),
            ("Each mixer alone", shown.MIXERS_NOTE, shown.mixers_table(done)),
            ("Growth with the number of tokens", shown.SLOPES_NOTE, shown.slopes_table(done)),
        ],
    )


_space_option = click.option(
    "--space",
    type=Place(),
    default="blocks",
    show_default=True,
    help="Where networks are drawn from: a shipped space or a file.",
)
_seed_option = click.option("--seed", default=0, show_default=True, help="Of the networks that are drawn.")


@bench.command()
@device_option
@click.option("--against", required=True, help="What to compare with; takes the same as --device.")
@_space_option
@click.option("--networks", type=click.IntRange(min=0), default=50, show_default=True, help="Networks to draw.")
@_seed_option
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
    from mvit2_search.report import bench_tables as shown
    from mvit2_search.report.bench_files import write_rank

    done = bench_rank(device, against, results=results, space=space, networks=networks, seed=seed, tell=_tell)
    files = write_rank(done, results)
    if as_json:
        rows = {"correlations": shown.correlation_rows(done), "networks": shown.pair_rows(done)}
        sources = {side.name: side.words for side in (done.a, done.b)}
        paths = list(map(str, files))
        echo_json(
            {"sources": sources, "notes": done.notes, **rows, "phones": shown.phones_table(), "files": paths}
        )
        return
    tables = [
        ("The networks", "", shown.pairs_table(done)),
        ("Published for phones", shown.PHONES_NOTE, shown.phones_table()),
        ("Whether they order networks alike", shown.RANK_NOTE, shown.rank_table(done)),
    ]
    _echo_tables(files, [*done.notes, *(f"{side.name}: {side.words}" for side in (done.a, done.b))], tables)


def _device(passport: Passport) -> str:
    from mvit2_search.records import device_sentence

    return device_sentence(passport)


def _tell(text: str) -> None:
    """Progress, which is no part of the output."""
    say(text, err=True)


def _echo_json(files: list[Path], passport: Passport, **rows: list[dict[str, object]]) -> None:
    echo_json({"passport": asdict(passport), **rows, "files": [str(path) for path in files]})


def _echo_tables(files: list[Path], sentences: list[str], tables: list[tuple[str, str, Table]]) -> None:
    for title, note, table in tables:
        say("", title, *([note] if note else []), "", *_lines(table))
    say("", *sentences, *map(str, files))


def _lines(table: Table) -> list[str]:
    """Columns as wide as their widest cell; those that begin with a number stand to the right."""
    if not table:
        return ["None."]
    columns = [[name, *(row[name] for row in table)] for name in table[0]]
    return [line.rstrip() for line in map("  ".join, zip(*map(_aligned, columns), strict=True))]


def _aligned(column: list[str]) -> list[str]:
    width = max(map(len, column))
    first = next((cell for cell in column[1:] if cell), "")
    return [cell.rjust(width) if first[:1].isdigit() else cell.ljust(width) for cell in column]
