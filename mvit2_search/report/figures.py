"""A study as Plotly figures. They compute nothing that a table or the summary does not hold."""

from collections.abc import Sequence

import plotly.graph_objects as go

from mvit2_search.analysis.paired import sampling_error_pct
from mvit2_search.records import Finished, Latency, Measurement, Stopped, Trial
from mvit2_search.report.tables import HypervolumeTable, Summary
from mvit2_search.system.text import counted

GREY, BLUE, ORANGE, RED = "#8a8a8a", "#0072b2", "#d55e00", "#b00020"  # safe for the colour-blind
SHADE = "rgba(138, 138, 138, 0.3)"
MANY = 1_000  # trials that a page shows; pareto.csv has all
LAYOUT = {
    "template": "plotly_white",
    "margin": {"l": 60, "r": 20, "t": 30, "b": 50},
    "legend": {"orientation": "h", "y": -0.2},
}
CANDIDATES, WIDTHS, FRONT = "candidates", "published widths", "front under the budget"


def front_figure(summary: Summary) -> go.Figure:
    """Accuracy against latency: candidates, front, published widths, budget."""
    on_front, images = set(map(id, summary.front)), summary.inputs.data.selection
    trained = [(t, t.outcome) for t in summary.all_trials if isinstance(t.outcome, Finished) and t.repeats is None]
    others = [(t, outcome) for t, outcome in trained if not t.published and id(t) not in on_front]
    others = sorted(others, key=lambda one: one[1].score, reverse=True)[:MANY]
    widths = [(t, outcome) for t, outcome in trained if t.published]
    front = [(t, t.outcome) for t in summary.front if isinstance(t.outcome, Finished)]
    figure = go.Figure(layout={**LAYOUT, "hoverlabel": {"align": "left"}})
    figure.add_trace(_points(others, images, CANDIDATES, GREY, "circle-open"))
    figure.add_trace(_points(widths, images, WIDTHS, ORANGE, "diamond", line="linear"))
    figure.add_trace(_points(front, images, FRONT, BLUE, "circle", line="hv"))
    figure.add_vline(
        x=summary.limits.latency_ms,
        line={"dash": "dash", "color": RED},
        annotation={"text": f"budget {summary.budget}", "font": {"color": RED}},
    )
    figure.update_xaxes(title=f"latency in ms, {summary.passport.kind} (bars: 95 % interval)", rangemode="tozero")
    figure.update_yaxes(title="top-1 in % after the short training (bars: 95 % sampling error)")
    return figure


def _points(
    trained: Sequence[tuple[Trial, Finished]], images: int, name: str, color: str, symbol: str, *, line: str = ""
) -> go.Scatter:
    """`line` is the shape of the line from the fastest to the slowest, if there is one."""
    points = sorted(trained, key=lambda one: one[1].latency.latency_ms) if line else trained
    scores, latencies = [one.score for _, one in points], [one.latency for _, one in points]
    return go.Scatter(
        x=[one.latency_ms for one in latencies],
        y=scores,
        error_x=bars(latencies),
        error_y={"array": [sampling_error_pct(score, images) for score in scores], "thickness": 1},
        mode="lines+markers" if line else "markers",
        line={"shape": line} if line else None,
        marker={"color": color, "symbol": symbol, "size": 9},
        name=name,
        text=[_hover(*one) for one in points],
        hovertemplate="%{text}<extra></extra>",
    )


def bars(latencies: Sequence[Latency]) -> dict[str, object]:
    """Their 95 % intervals, as Plotly draws them."""
    return {
        "array": [one.high_ms - one.latency_ms for one in latencies],
        "arrayminus": [one.latency_ms - one.low_ms for one in latencies],
        "thickness": 1,
    }


def _hover(trial: Trial, outcome: Finished) -> str:
    arch, latency = trial.arch, outcome.latency
    flags = latency.flags if isinstance(latency, Measurement) else ()
    lines = [
        f"<b>{trial.name}</b> {arch.key}",
        f"{outcome.score:.2f} %, {latency}",
        f"{trial.params:,} parameters, {trial.macs / 1e9:.3f} G multiply-adds",
        f"stages {arch.stage_channels}, stem {arch.stem_channels}",
        f"expanded {arch.expanded_channels}",
        f"attention layers {arch.attention_layers}, dims {arch.attention_dims}, ffn {arch.ffn_dims}",
    ]
    return "<br>".join([*lines, *([f"<i>{', '.join(flags)}</i>"] if flags else [])])


def curves_figure(summary: Summary) -> go.Figure:
    """Accuracy after each epoch: the front, all published widths and the newest `MANY` others.

    A stopped training ends with a cross.
    """
    on_front = set(map(id, summary.front))
    trained = [t for t in summary.all_trials if isinstance(t.outcome, Finished | Stopped) and t.repeats is None]
    others = [t for t in trained if not t.published and id(t) not in on_front][-MANY:]
    figure = go.Figure(layout=LAYOUT)
    for trials, name, color, symbol in (
        ([t for t in others if isinstance(t.outcome, Finished)], CANDIDATES, GREY, "circle"),
        ([t for t in trained if t.published and id(t) not in on_front], WIDTHS, ORANGE, "diamond"),
        ([t for t in others if isinstance(t.outcome, Stopped)], "stopped early", RED, "x"),
        ([t for t in trained if id(t) in on_front], FRONT, BLUE, "circle"),
    ):
        if trials:
            figure.add_trace(_curves(trials, name, color, symbol))
    figure.update_xaxes(title="epoch", rangemode="tozero")
    figure.update_yaxes(title="top-1 in % (on fewer images before the last epoch)")
    return figure


def _curves(trials: Sequence[Trial], name: str, color: str, symbol: str) -> go.Scatter:
    """All curves of a group in one trace, with a gap after each; only their ends are marked."""
    curves = [(t.name, t.outcome.curve) for t in trials if isinstance(t.outcome, Finished | Stopped)]
    sizes = [size for _, curve in curves for size in (*[0] * (len(curve) - 1), 8, 0)]
    return go.Scatter(
        x=[epoch for _, curve in curves for epoch in (*range(1, len(curve) + 1), None)],
        y=[pct for _, curve in curves for pct in (*curve, None)],
        mode="lines+markers",
        line={"width": 1, "color": color},
        marker={"symbol": symbol, "size": sizes, "color": color},
        name=name,
        text=[trial for trial, curve in curves for _ in range(len(curve) + 1)],
        hovertemplate="%{text}, epoch %{x}: %{y:.2f} %<extra></extra>",
    )


def confirmation_figure(summary: Summary) -> go.Figure:
    """Each confirmed network's accuracy for each fresh seed, and the mean."""
    seeds = [(c.trial.name, pct) for c in summary.confirmed for pct in c.scores.values()]
    means = [(c.trial.name, c.mean_pct) for c in summary.confirmed]
    dot = {"color": BLUE, "symbol": "circle-open", "size": 9}
    bar = {"color": ORANGE, "symbol": "line-ew-open", "size": 30, "line": {"width": 3}}
    figure = go.Figure(layout={**LAYOUT, "height": 320})
    for points, name, marker in ((seeds, "one seed", dot), (means, "mean", bar)):
        x, y = [network for network, _ in points], [pct for _, pct in points]
        figure.add_scatter(x=x, y=y, mode="markers", name=name, marker=marker)
    figure.update_yaxes(title="top-1 in % on unseen images")
    return figure


def hypervolume_figure(table: HypervolumeTable) -> go.Figure:
    """Hypervolume over trained networks: the search's, and the band of the random networks."""
    figure = go.Figure(layout=LAYOUT)
    if band := table.band:
        controls = len(band.median)
        x, random = list(range(1, controls + 1)), counted(controls, "random network")
        edge = {"x": x, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
        figure.add_scatter(y=band.low, showlegend=False, **edge)
        figure.add_scatter(
            y=band.high, fill="tonexty", fillcolor=SHADE, name=f"{random}: 5 to 95 % of their orders", **edge
        )
        median = {"color": GREY, "dash": "dot"}
        figure.add_scatter(x=x, y=band.median, mode="lines", line=median, name="random networks: median")
    steps = _steps(table.search)
    figure.add_scatter(
        x=[i + 1 for i in steps],
        y=[table.search[i] for i in steps],
        mode="lines+markers",
        line={"shape": "hv", "color": BLUE},
        name="search",
    )
    accuracy, latency = table.reference
    figure.update_xaxes(title="trained networks", rangemode="tozero")
    figure.update_yaxes(
        title=f"hypervolume from {accuracy:.2f} % and {latency:.2f} ms, points x ms", rangemode="tozero"
    )
    return figure


def _steps(values: Sequence[float]) -> list[int]:
    """Where a curve of steps changes, and its ends."""
    last = len(values) - 1
    return [i for i, value in enumerate(values) if i in (0, last) or value != values[i - 1]]
