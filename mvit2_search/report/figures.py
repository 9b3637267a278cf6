"""A study as Plotly figures.

Tables into Plotly figures. Computes nothing that a table does not hold.

Accuracy after each epoch, one line per training, as a Plotly figure.
"""

from collections.abc import Sequence

import plotly.graph_objects as go

from mvit2_search.analysis.paired import sampling_error_pct
from mvit2_search.records import Finished, Measurement, Stopped, Trial
from mvit2_search.report.hypervolume import Band, HypervolumeTable
from mvit2_search.report.tables import Summary
from mvit2_search.system.text import counted

GREY, BLUE, ORANGE, RED = "#8a8a8a", "#0072b2", "#d55e00", "#b00020"  # safe for the colour-blind
SHADE = "rgba(138, 138, 138, 0.3)"
MANY = 1_000  # trials that a page shows; pareto.csv has all
LAYOUT = {
    "template": "plotly_white",
    "margin": {"l": 60, "r": 20, "t": 30, "b": 50},
    "legend": {"orientation": "h", "y": -0.2},
}


def front_figure(summary: Summary) -> go.Figure:
    """Accuracy against latency: candidates, front, published widths, budget."""
    trained = [t for t in summary.all_trials if isinstance(t.outcome, Finished) and t.repeats is None]
    published = sorted((t for t in trained if t.published), key=_latency)
    on_front = {t.number for t in summary.front}
    others = [t for t in trained if not t.published and t.number not in on_front]
    others = sorted(others, key=_accuracy, reverse=True)[:MANY]
    front = sorted(summary.front, key=_latency)
    groups = [
        (others, "candidates", {"color": GREY, "symbol": "circle-open", "size": 9}, None),
        (published, "published widths", {"color": ORANGE, "symbol": "diamond", "size": 10}, "linear"),
        (front, "front under the budget", {"color": BLUE, "symbol": "circle", "size": 9}, "hv"),
    ]
    figure = go.Figure(layout={**LAYOUT, "hoverlabel": {"align": "left"}})
    images = summary.inputs.data.selection
    for trials, name, marker, line in groups:
        figure.add_trace(_points(trials, images, name=name, marker=marker, line=line))
    figure.add_vline(
        x=summary.limits.latency_ms,
        line={"dash": "dash", "color": RED},
        annotation={"text": f"budget {summary.budget}", "font": {"color": RED}},
    )
    figure.update_xaxes(title=f"latency in ms, {summary.passport.kind} (bars: 95 % interval)", rangemode="tozero")
    figure.update_yaxes(title="top-1 in % after the short training (bars: 95 % sampling error)")
    return figure


def confirmation_figure(summary: Summary) -> go.Figure:
    """Each finalist's accuracy for each fresh seed, and their mean."""
    figure = go.Figure(layout={**LAYOUT, "height": 320})
    names = [c.trial.name for c in summary.confirmed]
    dots = [(n, pct) for n, c in zip(names, summary.confirmed, strict=True) for pct in c.accuracy_pct.values()]
    figure.add_trace(
        go.Scatter(
            x=[name for name, _ in dots],
            y=[pct for _, pct in dots],
            mode="markers",
            name="one seed",
            marker={"color": BLUE, "symbol": "circle-open", "size": 9},
        )
    )
    figure.add_trace(
        go.Scatter(
            x=names,
            y=[c.mean_pct for c in summary.confirmed],
            mode="markers",
            name="mean",
            marker={"color": ORANGE, "symbol": "line-ew-open", "size": 30, "line": {"width": 3}},
        )
    )
    figure.update_yaxes(title="top-1 in % on unseen images")
    return figure


def hypervolume_figure(table: HypervolumeTable) -> go.Figure:
    """Hypervolume against trained architectures: the search's, and the band of random orders of the controls."""
    figure = go.Figure(layout=LAYOUT)
    if table.band is not None:
        figure.add_traces(_band(table.band))
    steps = _steps(table.search)
    figure.add_trace(
        go.Scatter(
            x=[i + 1 for i in steps],
            y=[table.search[i] for i in steps],
            mode="lines+markers",
            line={"shape": "hv", "color": BLUE},
            name="search",
        )
    )
    accuracy, latency = table.reference
    reference = f"{accuracy:.2f} % and {latency:.2f} ms"
    figure.update_xaxes(title="trained architectures", rangemode="tozero")
    figure.update_yaxes(title=f"hypervolume from {reference}, points x ms", rangemode="tozero")
    return figure


def _band(band: Band) -> list[go.Scatter]:
    """Its lower edge, its upper edge with the area between, and its middle."""
    lines: list[tuple[tuple[float, ...], dict[str, object]]] = [
        (band.low, {"line": {"width": 0}, "showlegend": False, "hoverinfo": "skip"}),
        (band.high, {"line": {"width": 0}, "fill": "tonexty", "fillcolor": SHADE, "hoverinfo": "skip"}),
        (band.median, {"line": {"color": GREY, "dash": "dot"}}),
    ]
    names = ("", f"random: 5 to 95 % of orders of {counted(band.controls, 'architecture')}", "random: median")
    x = list(range(1, band.controls + 1))
    return [
        go.Scatter(x=x, y=y, mode="lines", name=name, **look) for name, (y, look) in zip(names, lines, strict=True)
    ]


def _steps(values: Sequence[float]) -> list[int]:
    """Where a curve of steps changes, and its ends."""
    last = len(values) - 1
    return [i for i, value in enumerate(values) if i in (0, last) or value != values[i - 1]]


def _points(
    trials: Sequence[Trial], images: int, *, name: str, marker: dict[str, object], line: str | None
) -> go.Scatter:
    latencies = [t.latency for t in trials if t.latency is not None]
    return go.Scatter(
        x=[_latency(t) for t in trials],
        y=[_accuracy(t) for t in trials],
        error_x={
            "array": [one.high_ms - one.latency_ms for one in latencies],
            "arrayminus": [one.latency_ms - one.low_ms for one in latencies],
            "thickness": 1,
        },
        error_y={"array": [sampling_error_pct(_accuracy(t), images) for t in trials], "thickness": 1},
        mode="lines+markers" if line else "markers",
        line={"shape": line} if line else None,
        marker=marker,
        name=name,
        text=[_hover(t) for t in trials],
        hovertemplate="%{text}<extra></extra>",
    )


def _hover(trial: Trial) -> str:
    arch, latency = trial.arch, trial.latency
    assert latency is not None
    flags = latency.flags if isinstance(latency, Measurement) else ()
    return "<br>".join(
        [
            f"<b>{trial.name}</b> {arch.key}",
            f"{_accuracy(trial):.2f} %, {latency}",
            f"{trial.params:,} parameters, {trial.macs / 1e9:.3f} G multiply-adds",
            f"stages {arch.stage_channels}, stem {arch.stem_channels}",
            f"expanded {arch.expanded_channels}",
            f"attention layers {arch.attention_layers}, dims {arch.attention_dims}, ffn {arch.ffn_dims}",
            *([f"<i>{', '.join(flags)}</i>"] if flags else []),
        ]
    )


def _latency(trial: Trial) -> float:
    assert trial.latency is not None
    return trial.latency.latency_ms


def _accuracy(trial: Trial) -> float:
    assert isinstance(trial.outcome, Finished)
    return trial.outcome.score


def curves_figure(summary: Summary) -> go.Figure:
    """The front, all published widths and the newest `MANY` others; what was stopped ends with a cross."""
    trained = [t for t in summary.all_trials if isinstance(t.outcome, Finished | Stopped) and t.repeats is None]
    on_front = {(t.number, t.published) for t in summary.front}
    newest = {id(t) for t in [t for t in trained if not t.published and (t.number, None) not in on_front][-MANY:]}
    trained = [t for t in trained if t.published or (t.number, None) in on_front or id(t) in newest]
    stopped = [t for t in trained if isinstance(t.outcome, Stopped)]
    front = [t for t in trained if (t.number, t.published) in on_front]
    shown = {id(t) for t in [*stopped, *front]}
    whole = [t for t in trained if id(t) not in shown]
    groups = [
        ([t for t in whole if not t.published], "candidates", GREY, "circle"),
        ([t for t in whole if t.published], "published widths", ORANGE, "diamond"),
        (stopped, "stopped early", RED, "x"),
        (front, "front under the budget", BLUE, "circle"),
    ]
    figure = go.Figure(layout=LAYOUT)
    for trials, name, color, symbol in groups:
        if trials:
            figure.add_trace(_lines(trials, name=name, color=color, symbol=symbol))
    figure.update_xaxes(title="epoch", rangemode="tozero")
    figure.update_yaxes(title="top-1 in % (on fewer images before the last epoch)")
    return figure


def _lines(trials: Sequence[Trial], *, name: str, color: str, symbol: str) -> go.Scatter:
    """All curves of a group in one trace, with a gap after each; only their ends are marked."""
    epochs: list[int | None] = []
    accuracies: list[float | None] = []
    sizes: list[int] = []
    names: list[str] = []
    for trial in trials:
        assert isinstance(trial.outcome, Finished | Stopped)
        curve = trial.outcome.curve
        epochs += [*range(1, len(curve) + 1), None]
        accuracies += [*curve, None]
        sizes += [*[0] * (len(curve) - 1), 8, 0]
        names += [trial.name] * (len(curve) + 1)
    return go.Scatter(
        x=epochs,
        y=accuracies,
        mode="lines+markers",
        line={"width": 1, "color": color},
        marker={"symbol": symbol, "size": sizes, "color": color},
        name=name,
        text=names,
        hovertemplate="%{text}, epoch %{x}: %{y:.2f} %<extra></extra>",
    )
