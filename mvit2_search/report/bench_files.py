"""Benchmarks as they are shown: on the terminal, as CSV for programs, and as one offline page for people."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from mvit2_search.arch.published import published_by_network
from mvit2_search.measure.bench import MIXERS, SLOPE_FROM, AttentionBench, ModelsBench, Timing
from mvit2_search.measure.rank import RankBench
from mvit2_search.records import DEFAULT_FORMULATION, FormulationName, Measurement, Passport, device_sentence
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
    phones_table,
    published_rows,
    rank_tables,
    slope_rows,
)
from mvit2_search.report.figures import BLUE, GREY, LAYOUT, ORANGE, bars
from mvit2_search.report.page import drawn, heading, key_values, page, paragraphs, table
from mvit2_search.store.folders import BENCH
from mvit2_search.system.files import write_atomically

_VERSIONS = {"mobilevitv2": ("MobileViTv2", BLUE, "circle"), "mobilevitv1": ("MobileViT", ORANGE, "diamond")}
_MIXERS = {
    "multi_head": ("multi-head", ORANGE, "diamond"),
    "linformer": ("Linformer", GREY, "square"),
    "separable": ("separable", BLUE, "circle"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchReport:
    """A benchmark for programs and for people."""

    data: dict[str, object]  # what `--json` prints; without it, the tables and the sentences are printed
    tables: Sequence[Titled]
    sentences: Sequence[str]
    files: dict[str, str]  # texts by their names in the folder of benchmarks

    def write(self, results: Path) -> list[Path]:
        """Write the files; their paths. Raises StorageError if one cannot be written."""
        for name, text in self.files.items():
            write_atomically(results / BENCH / name, text)
        return [results / BENCH / name for name in self.files]


def models_report(bench: ModelsBench) -> BenchReport:
    """`models.csv` and `models.html`."""
    sentences, rows = [device_sentence(bench.passport)], network_rows(bench)
    conditions = device_conditions(bench.passport, bench.formulation)
    tables = models_tables(bench)
    sections = [
        paragraphs(sentences),
        heading("Accuracy as published against latency as measured"),
        drawn(models_figure(bench), "models", "The figures in the table below."),
        *map(section, tables),
        device_section(conditions),
    ]
    return BenchReport(
        data={"passport": asdict(bench.passport), "networks": rows, "published": published_rows()},
        tables=tables,
        sentences=sentences,
        files={"models.csv": csv_text(rows, conditions), "models.html": page("The published networks", sections)},
    )


def attention_report(bench: AttentionBench) -> BenchReport:
    """`attention-networks.csv`, `attention-mixers.csv`, `attention-slopes.csv` and `attention.html`."""
    sentences, conditions = [device_sentence(bench.passport)], device_conditions(bench.passport)
    rows = {"networks": backbone_rows(bench), "mixers": mixer_rows(bench), "slopes": slope_rows(bench)}
    networks, mixers, slopes = attention_tables(bench)
    sections = [
        paragraphs(sentences),
        section(networks),
        section(slopes),
        drawn(mixers_figure(bench), "mixers", "The figures in the table below."),
        section(mixers),
        device_section(conditions),
    ]
    return BenchReport(
        data={"passport": asdict(bench.passport), **rows},
        tables=(networks, mixers, slopes),
        sentences=sentences,
        files={
            **{f"attention-{name}.csv": csv_text(some, conditions) for name, some in rows.items()},
            "attention.html": page("Token mixers", sections),
        },
    )


def rank_report(bench: RankBench) -> BenchReport:
    """`rank-A-B.csv`, `rank-A-B-networks.csv` and `rank-A-B.html`, with the names of the two sources."""
    sides = (bench.a, bench.b)
    sentences = [*bench.notes, *(f"{side.name}: {side.words}" for side in sides)]
    conditions: Row = {"space": bench.space, "seed": bench.seed}
    conditions |= {f"passport of {side.name}": side.passport.digest for side in sides if side.passport}
    correlations, pairs = correlation_rows(bench), pair_rows(bench)
    networks, phones, orders = rank_tables(bench)
    sections = [
        paragraphs(sentences),
        section(orders),
        drawn(rank_figure(bench), "rank", "The figures in the next table."),
        section(networks),
        section(phones),
    ]
    name = f"rank-{bench.a.name}-{bench.b.name}".replace(":", "-")
    return BenchReport(
        data={
            "sources": {side.name: side.words for side in sides},
            "notes": bench.notes,
            "correlations": correlations,
            "networks": pairs,
            "phones": phones_table(),
        },
        tables=(networks, phones, orders),
        sentences=sentences,
        files={
            f"{name}.csv": csv_text(correlations, conditions),
            f"{name}-networks.csv": csv_text(pairs, conditions, PAIR_COLUMNS),
            f"{name}.html": page("Networks ranked by two devices", sections),
        },
    )


def models_figure(bench: ModelsBench) -> go.Figure:
    """The authors' accuracy against the latency measured here."""
    top1_pct = {name: rows[0].top1_pct for name, rows in published_by_network().items()}
    figure = go.Figure(layout=LAYOUT)
    for version, style in _VERSIONS.items():
        names, timed = _timed((one.name, one.timing) for one in bench.networks if one.name.startswith(version))
        trace = points([m.latency_ms for m in timed], [top1_pct[name] for name in names], *style)
        figure.add_trace(trace.update(text=names, error_x=bars(timed)))
    figure.update_xaxes(title="latency in ms, measured here (bars: 95 % interval)", rangemode="tozero")
    figure.update_yaxes(title="top-1 in % on ImageNet-1k, published by the authors")
    return figure


def mixers_figure(bench: AttentionBench) -> go.Figure:
    """Latency over tokens, both logarithmic, with the number of tokens from which slopes are fitted."""
    figure = go.Figure(layout=LAYOUT)
    for mixer in MIXERS:
        tokens, timed = _timed((row.tokens, row.timing) for row in bench.mixers if row.attention == mixer)
        trace = points(tokens, [m.latency_ms for m in timed], *_MIXERS[mixer])
        figure.add_trace(trace.update(error_y=bars(timed)))
    line = {"dash": "dot", "color": GREY}  # an annotation would be misplaced on a logarithmic axis
    label = {"text": "slopes from here on", "textposition": "end", "textangle": 0}
    figure.add_vline(x=SLOPE_FROM, line=line, label=label)
    figure.update_xaxes(title="tokens", type="log")
    figure.update_yaxes(title="latency of one mixer in ms, measured (bars: 95 % interval)", type="log")
    return figure


def _timed(timings: Iterable[tuple[Any, Timing]]) -> tuple[list[Any], list[Measurement]]:
    """What could be timed, and its latencies."""
    timed = [(what, timing) for what, timing in timings if isinstance(timing, Measurement)]
    return [what for what, _ in timed], [timing for _, timing in timed]


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
    """CSV with `conditions` in every row; `columns` are those of `rows`, needed if there may be none."""
    names = [*(columns or rows[0]), *conditions]
    whole = pd.DataFrame([row | conditions for row in rows], columns=names, dtype=object)
    return whole.to_csv(index=False)  # whole numbers stay whole beside empty cells, as objects
