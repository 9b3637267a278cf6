"""The files of a full training: metrics.csv, and training.html with its curves."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from mvit2_search.records import EpochRow
from mvit2_search.report.figures import BLUE, LAYOUT, ORANGE
from mvit2_search.report.page import drawn, heading, page, paragraphs, table
from mvit2_search.system.files import write_atomically


def write_training_files(folder: Path, what: str, rows: Sequence[EpochRow], metric: str) -> None:
    """Write metrics.csv and training.html again; raises StorageError if the disk takes no more."""
    frame = pd.DataFrame([asdict(row) for row in rows])
    write_atomically(folder / "metrics.csv", frame.to_csv(index=False, float_format="%.7g"))
    write_atomically(folder / "training.html", _page(what, rows, frame, metric))


def _page(what: str, rows: Sequence[EpochRow], frame: pd.DataFrame, metric: str) -> str:
    best = max(rows, key=lambda row: row.score)
    said = f"Best: epoch {best.epoch}, {metric} {best.score:.2f} % on the test images."
    score = _curve(frame, "score", f"{metric} in %", BLUE)
    loss = _curve(frame, "loss", "training loss", ORANGE)
    return page(
        f"Training of {what}",
        [
            paragraphs([said]),
            heading(f"{metric} of the averaged weights on the test images"),
            drawn(score, "score", f"{metric} after each epoch; {said}"),
            heading("Training loss"),
            drawn(loss, "loss", "mean training loss of each epoch"),
            heading("Epochs"),
            table(frame.assign(learning_rate=[f"{row.learning_rate:.3g}" for row in rows])),
        ],
    )


def _curve(frame: pd.DataFrame, column: str, title: str, color: str) -> go.Figure:
    figure = go.Figure(layout=LAYOUT)
    figure.add_trace(go.Scatter(x=frame["epoch"], y=frame[column], mode="lines+markers", line={"color": color}))
    figure.update_xaxes(title="epoch")
    figure.update_yaxes(title=title)
    return figure
