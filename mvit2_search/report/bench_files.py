"""Benchmarks as files in `results/bench`: CSV for programs, one offline page for people."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from mvit2_search.arch.published import published_by_network
from mvit2_search.measure.bench import MIXERS, SLOPE_FROM, AttentionBench, ModelsBench
from mvit2_search.measure.rank import RankBench
from mvit2_search.records import (
    DEFAULT_FORMULATION,
    FormulationName,
    Latency,
    Measurement,
    Passport,
    device_sentence,
)
from mvit2_search.report.bench_tables import (
    PAIR_COLUMNS,
    Row,
    Titled,
    attention_tables,
    backbone_rows,
    correlation_rows,
    mixer_rows,
    models_tables,
    network_rows,
    pair_rows,
    rank_tables,
    slope_rows,
)
from mvit2_search.report.figures import BLUE, GREY, LAYOUT, ORANGE
from mvit2_search.report.html import drawn, heading, key_values, page, paragraphs, table
from mvit2_search.store.folders import BENCH
from mvit2_search.system.files import write_atomically

_VERSIONS = {
    "mobilevitv2": ("MobileViTv2", BLUE, "circle"),
    "mobilevitv1": ("MobileViT", ORANGE, "diamond"),
}
_MIXERS = {
    "multi_head": ("multi-head", ORANGE, "diamond"),
    "linformer": ("Linformer", GREY, "square"),
    "separable": ("separable", BLUE, "circle"),
}


def write_models(bench: ModelsBench, results: Path) -> list[Path]:
    """Write `models.csv` and `models.html`.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    conditions = device_conditions(bench.passport, bench.formulation)
    sections = [
        paragraphs([device_sentence(bench.passport)]),
        heading("Accuracy as published against latency as measured"),
        drawn(models_figure(bench), "models", "The figures in the table below."),
        *map(section, models_tables(bench)),
        device_section(conditions),
    ]
    return write_texts(
        results / BENCH,
        {
            "models.csv": csv_text(network_rows(bench), conditions),
            "models.html": page("The published networks", sections),
        },
    )


def write_attention(bench: AttentionBench, results: Path) -> list[Path]:
    """Write `attention-networks.csv`, `attention-mixers.csv`, `attention-slopes.csv`, `attention.html`.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    conditions = device_conditions(bench.passport)
    networks, mixers, slopes = attention_tables(bench)
    sections = [
        paragraphs([device_sentence(bench.passport)]),
        section(networks),
        section(slopes),
        drawn(mixers_figure(bench), "mixers", "The figures in the table below."),
        section(mixers),
        device_section(conditions),
    ]
    return write_texts(
        results / BENCH,
        {
            "attention-networks.csv": csv_text(backbone_rows(bench), conditions),
            "attention-mixers.csv": csv_text(mixer_rows(bench), conditions),
            "attention-slopes.csv": csv_text(slope_rows(bench), conditions),
            "attention.html": page("Token mixers", sections),
        },
    )


def write_rank(bench: RankBench, results: Path) -> list[Path]:
    """Write `rank.csv`, `rank-networks.csv` and `rank.html`, with the two sources in the names.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    sources = (bench.a, bench.b)
    conditions: Row = {"space": bench.space, "seed": bench.seed}
    conditions |= {f"passport of {one.name}": one.passport.digest for one in sources if one.passport}
    networks, phones, orders = rank_tables(bench)
    sections = [
        paragraphs([*bench.notes, *(f"{one.name}: {one.words}" for one in sources)]),
        section(orders),
        drawn(rank_figure(bench), "rank", "The figures in the next table."),
        section(networks),
        section(phones),
    ]
    name = f"rank-{bench.a.name}-{bench.b.name}".replace(":", "-")
    return write_texts(
        results / BENCH,
        {
            f"{name}.csv": csv_text(correlation_rows(bench), conditions),
            f"{name}-networks.csv": csv_text(pair_rows(bench), conditions, PAIR_COLUMNS),
            f"{name}.html": page("Networks ranked by two devices", sections),
        },
    )


def models_figure(bench: ModelsBench) -> go.Figure:
    """The authors' accuracy against the latency measured here."""
    top1_pct = {name: rows[0].top1_pct for name, rows in published_by_network().items()}
    figure = go.Figure(layout=LAYOUT)
    for version, style in _VERSIONS.items():
        timed = [
            (network.name, network.timing)
            for network in bench.networks
            if network.name.startswith(version) and isinstance(network.timing, Measurement)
        ]
        trace = points([m.latency_ms for _, m in timed], [top1_pct[n] for n, _ in timed], *style)
        figure.add_trace(trace.update(text=[name for name, _ in timed], error_x=bars([m for _, m in timed])))
    figure.update_xaxes(title="latency in ms, measured here (bars: 95 % interval)", rangemode="tozero")
    figure.update_yaxes(title="top-1 in % on ImageNet-1k, published by the authors")
    return figure


def mixers_figure(bench: AttentionBench) -> go.Figure:
    """Latency over tokens, both logarithmic, with the number of tokens from which slopes are fitted."""
    figure = go.Figure(layout=LAYOUT)
    for mixer in MIXERS:
        timed = [
            (row.tokens, row.timing)
            for row in bench.mixers
            if row.attention == mixer and isinstance(row.timing, Measurement)
        ]
        trace = points([tokens for tokens, _ in timed], [m.latency_ms for _, m in timed], *_MIXERS[mixer])
        figure.add_trace(trace.update(error_y=bars([m for _, m in timed])))
    line = {"dash": "dot", "color": GREY}  # an annotation would be misplaced on a logarithmic axis
    label = {"text": "slopes from here on", "textposition": "end", "textangle": 0}
    figure.add_vline(x=SLOPE_FROM, line=line, label=label)
    figure.update_xaxes(title="tokens", type="log")
    figure.update_yaxes(title="latency of one mixer in ms, measured (bars: 95 % interval)", type="log")
    return figure


def rank_figure(bench: RankBench) -> go.Figure:
    """The second source over the first, both logarithmic."""
    styles = [(BLUE, "circle"), (ORANGE, "diamond"), (GREY, "square")]
    figure = go.Figure(layout=LAYOUT)
    for comparison, style in zip(bench.comparisons, styles, strict=True):
        a_ms, b_ms = [p.a_ms for p in comparison.pairs], [p.b_ms for p in comparison.pairs]
        trace = points(a_ms, b_ms, comparison.networks, *style)
        figure.add_trace(trace.update(mode="markers", text=[p.network for p in comparison.pairs]))
    figure.update_xaxes(title=f"latency in ms, {bench.a.kind}: {bench.a.name}", type="log")
    figure.update_yaxes(title=f"latency in ms, {bench.b.kind}: {bench.b.name}", type="log")
    return figure


def points(
    x: Sequence[float], y: Sequence[float | None], name: str, color: str, symbol: str = "circle"
) -> go.Scatter:
    """Points with a thin line through them."""
    marker = {"color": color, "symbol": symbol, "size": 9}
    return go.Scatter(x=x, y=y, name=name, mode="lines+markers", marker=marker, line={"width": 1})


def bars(latencies: Iterable[Latency]) -> dict[str, object]:
    """Their 95 % intervals, as Plotly draws them."""
    ends = [(one.high_ms - one.latency_ms, one.latency_ms - one.low_ms) for one in latencies]
    return {"array": [up for up, _ in ends], "arrayminus": [down for _, down in ends], "thickness": 1}


def section(shown: Titled) -> str:
    """A table with its title and note, as HTML."""
    note = paragraphs([shown.note] if shown.note else [])
    rows = table(pd.DataFrame(shown.table)) if shown.table else paragraphs(["None."])
    return heading(shown.title) + note + rows


def device_section(conditions: Row) -> str:
    return heading("Device") + key_values(conditions.items())


def device_conditions(passport: Passport, formulation: FormulationName = DEFAULT_FORMULATION) -> Row:
    """What latencies were measured with: columns of every row, so that a row stands for itself."""
    return {"formulation": formulation, **asdict(passport)}


def csv_text(rows: list[Row], conditions: Row, columns: Sequence[str] | None = None) -> str:
    """CSV with `conditions` in every row; whole numbers stay whole beside empty cells.

    Args:
        columns: of `rows`; needed if there may be none.
    """
    whole = pd.DataFrame(
        [row | conditions for row in rows], columns=[*(columns or rows[0]), *conditions], dtype=object
    )
    return whole.to_csv(index=False)


def write_texts(folder: Path, texts: dict[str, str]) -> list[Path]:
    """Write files by name; their paths.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    for name, text in texts.items():
        write_atomically(folder / name, text)
    return [folder / name for name in texts]
