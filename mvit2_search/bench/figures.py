"""Benchmarks as Plotly figures."""

import plotly.graph_objects as go

from mvit2_search.bench.attention import MIXERS, SLOPE_FROM, AttentionBench
from mvit2_search.bench.models import ModelsBench
from mvit2_search.bench.predict import PredictBench
from mvit2_search.bench.rank import RankBench
from mvit2_search.published import published_by_network
from mvit2_search.records import Measurement
from mvit2_search.report.figures import BLUE, GREY, LAYOUT, ORANGE

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


def predict_figure(bench: PredictBench) -> go.Figure:
    """Predicted over measured, of the held-out networks, and where they would be equal."""
    measured = [row.measurement.latency_ms for row in bench.held_out]
    predicted = [row.prediction for row in bench.held_out]
    bars = {
        "array": [p.high_ms - p.latency_ms for p in predicted],
        "arrayminus": [p.latency_ms - p.low_ms for p in predicted],
        "thickness": 1,
    }
    figure = go.Figure(layout=LAYOUT)
    ends = [min(measured), max(measured)]
    figure.add_scatter(x=ends, y=ends, name="equal", mode="lines", line={"dash": "dot", "color": GREY})
    trace = _line(measured, [p.latency_ms for p in predicted], "held-out networks", BLUE, "circle")
    figure.add_trace(trace.update(mode="markers", text=[row.arch.key for row in bench.held_out], error_y=bars))
    figure.update_xaxes(title="latency in ms, measured")
    figure.update_yaxes(title="latency in ms, predicted (bars: 95 % interval)")
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
