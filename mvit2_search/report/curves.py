"""Accuracy after each epoch, one line per training, as a Plotly figure."""

from collections.abc import Sequence

import plotly.graph_objects as go

from mvit2_search.records import Finished, Stopped, Trial
from mvit2_search.report.figures import BLUE, GREY, LAYOUT, MANY, ORANGE, RED
from mvit2_search.report.tables import Summary


def curves_figure(summary: Summary) -> go.Figure:
    """The front, all published widths and the newest `MANY` others; what was stopped ends with a cross."""
    trained = [t for t in summary.all_trials if isinstance(t.outcome, Finished | Stopped) and t.repeats is None]
    on_front = {(t.number, t.baseline) for t in summary.front}
    newest = {id(t) for t in [t for t in trained if not t.baseline and (t.number, None) not in on_front][-MANY:]}
    trained = [t for t in trained if t.baseline or (t.number, None) in on_front or id(t) in newest]
    stopped = [t for t in trained if isinstance(t.outcome, Stopped)]
    front = [t for t in trained if (t.number, t.baseline) in on_front]
    shown = {id(t) for t in [*stopped, *front]}
    whole = [t for t in trained if id(t) not in shown]
    groups = [
        ([t for t in whole if not t.baseline], "candidates", GREY, "circle"),
        ([t for t in whole if t.baseline], "published widths", ORANGE, "diamond"),
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
        curve = trial.outcome.curve_pct
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
