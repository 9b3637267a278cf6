"""Benchmarks as files in `results/bench`: CSV for programs, one offline page for people.

Benchmarks as Plotly figures.

Benchmarks as files in `results/bench`: CSV for programs, one offline page for people.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from mvit2_search.arch.published_figures import published_by_network
from mvit2_search.measure.bench import MIXERS, SLOPE_FROM, AttentionBench, ModelsBench
from mvit2_search.measure.rank import RankBench
from mvit2_search.records import DEFAULT_FORMULATION, FormulationName, Measurement, Passport, device_sentence
from mvit2_search.report.bench_tables import (
    BACKBONES_NOTE,
    MIXERS_NOTE,
    MODELS_NOTE,
    PAIR_COLUMNS,
    PHONES_NOTE,
    RANK_NOTE,
    SLOPES_NOTE,
    Row,
    Table,
    backbone_rows,
    backbones_table,
    correlation_rows,
    mixer_rows,
    mixers_table,
    models_table,
    network_rows,
    pair_rows,
    pairs_table,
    phones_table,
    published_table,
    rank_table,
    slope_rows,
    slopes_table,
)
from mvit2_search.report.figures import BLUE, GREY, LAYOUT, ORANGE
from mvit2_search.report.page import drawn, heading, key_values, page, paragraphs, table
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
        trace = _line([m.latency_ms for _, m in timed], [top1_pct[n] for n, _ in timed], *style)
        trace.update(text=[name for name, _ in timed], error_x=_bars([m for _, m in timed]))
        figure.add_trace(trace)
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
        trace = _line([tokens for tokens, _ in timed], [m.latency_ms for _, m in timed], *_MIXERS[mixer])
        figure.add_trace(trace.update(error_y=_bars([m for _, m in timed])))
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
        trace = _line(a_ms, list(b_ms), comparison.networks, *style)
        figure.add_trace(trace.update(mode="markers", text=[p.network for p in comparison.pairs]))
    figure.update_xaxes(title=f"latency in ms, {bench.a.kind}: {bench.a.name}", type="log")
    figure.update_yaxes(title=f"latency in ms, {bench.b.kind}: {bench.b.name}", type="log")
    return figure


def _line(x: list[float], y: list[float | None], name: str, color: str, symbol: str) -> go.Scatter:
    marker = {"color": color, "symbol": symbol, "size": 9}
    return go.Scatter(x=x, y=y, name=name, mode="lines+markers", marker=marker, line={"width": 1})


def _bars(measured: list[Measurement]) -> dict[str, object]:
    return {
        "array": [m.high_ms - m.latency_ms for m in measured],
        "arrayminus": [m.latency_ms - m.low_ms for m in measured],
        "thickness": 1,
    }


def write_models(bench: ModelsBench, results: Path) -> list[Path]:
    """Write `models.csv` and `models.html`.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    sections = [
        paragraphs([device_sentence(bench.passport), MODELS_NOTE]),
        heading("Accuracy as published against latency as measured"),
        drawn(models_figure(bench), "models", "The figures of the table below."),
        heading("Measured here, beside the authors' figures"),
        _table(models_table(bench)),
        heading("Published, by all sources"),
        _table(published_table()),
        heading("Device"),
        key_values(_conditions(bench.passport, bench.formulation).items()),
    ]
    return _write(
        results,
        {
            "models.csv": _csv(network_rows(bench), bench.passport, bench.formulation),
            "models.html": page("The published networks", sections),
        },
    )


def write_attention(bench: AttentionBench, results: Path) -> list[Path]:
    """Write `attention-networks.csv`, `attention-mixers.csv`, `attention-slopes.csv`, `attention.html`.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    sections = [
        paragraphs([device_sentence(bench.passport)]),
        heading("The same backbone with each mixer"),
        paragraphs([BACKBONES_NOTE]) + _table(backbones_table(bench)),
        heading("Each mixer alone"),
        paragraphs([MIXERS_NOTE]) + drawn(mixers_figure(bench), "mixers", "The figures of the last table."),
        paragraphs([SLOPES_NOTE]) + _table(slopes_table(bench)),
        heading("Each mixer at each number of tokens"),
        _table(mixers_table(bench)),
        heading("Device"),
        key_values(_conditions(bench.passport, DEFAULT_FORMULATION).items()),
    ]
    rows = {"networks": backbone_rows(bench), "mixers": mixer_rows(bench), "slopes": slope_rows(bench)}
    texts = {
        f"attention-{name}.csv": _csv(rows, bench.passport, DEFAULT_FORMULATION) for name, rows in rows.items()
    }
    return _write(results, texts | {"attention.html": page("Token mixers", sections)})


def write_rank(bench: RankBench, results: Path) -> list[Path]:
    """Write `rank.csv`, `rank-networks.csv` and `rank.html`, with the two sources in the names.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    sections = [
        paragraphs([*bench.notes, *(f"{source.name}: {source.words}" for source in (bench.a, bench.b))]),
        heading("Whether they order networks alike"),
        paragraphs([RANK_NOTE]) + _table(rank_table(bench)),
        drawn(rank_figure(bench), "rank", "The figures of the next table."),
        _table(pairs_table(bench)),
        heading("Published for phones"),
        paragraphs([PHONES_NOTE]) + _table(phones_table()),
    ]
    name = f"rank-{bench.a.name}-{bench.b.name}".replace(":", "-")
    passports = {source.name: source.passport for source in (bench.a, bench.b) if source.passport}
    conditions: Row = {"space": bench.space, "seed": bench.seed}
    conditions |= {f"passport of {key}": passport.digest for key, passport in passports.items()}
    correlations = correlation_rows(bench)  # there always are some
    texts = {
        f"{name}.csv": _with_columns(correlations, list(correlations[0]), conditions),
        f"{name}-networks.csv": _with_columns(pair_rows(bench), PAIR_COLUMNS, conditions),
    }
    return _write(results, texts | {f"{name}.html": page("Two orders of networks", sections)})


def _with_columns(rows: list[Row], columns: Sequence[str], conditions: Row) -> str:
    """CSV that has its columns also where it has no rows."""
    whole = [row | conditions for row in rows]
    return pd.DataFrame(whole, columns=[*columns, *conditions], dtype=object).to_csv(index=False)


def _write(results: Path, texts: dict[str, str]) -> list[Path]:
    for name, text in texts.items():
        write_atomically(results / BENCH / name, text)
    return [results / BENCH / name for name in texts]


def _csv(rows: list[Row], passport: Passport, formulation: FormulationName) -> str:
    """Every row says what it was measured with; whole numbers stay whole beside empty cells."""
    conditions = _conditions(passport, formulation)
    return pd.DataFrame([row | conditions for row in rows], dtype=object).to_csv(index=False)


def _conditions(passport: Passport, formulation: FormulationName) -> Row:
    return {"formulation": formulation, **asdict(passport)}


def _table(rows: Table) -> str:
    return table(pd.DataFrame(rows)) if rows else paragraphs(["None."])
