"""The benchmark of predictions as rows of plain values, as tables of text, and as files."""

from dataclasses import asdict

import plotly.graph_objects as go
from predictor_bench.run import HITS_PCT, HeldOut, Hits, PredictBench, Share

from mvit2_search.arch.cost import network_cost
from mvit2_search.records import device_sentence
from mvit2_search.report.bench_files import (
    BenchReport,
    csv_text,
    device_conditions,
    device_section,
    points,
    section,
)
from mvit2_search.report.bench_tables import Row, Table, Titled, titled
from mvit2_search.report.figures import BLUE, GREY, LAYOUT, bars
from mvit2_search.report.page import drawn, page, paragraphs

_HITS_NOTE = (
    "Held-out networks were measured and took no part in the fit. Intervals of shares are exact (Clopper-Pearson, "
    "95 %). The last row is the repeatability of measurements: held-out networks measured a second time, against "
    "their first measurement. Predictions cannot be expected to agree better with it."
)
_HELD_OUT_NOTE = "Measured and predicted latencies, each with its 95 % interval; the error is of the predicted."
_HELD_OUT_COLUMNS = {
    "network": "{network}",
    "multiply-adds": "{macs:,}",
    "ms measured": "{latency_ms:.3f}",
    "95 % measured": "{latency_low_ms:.3f} to {latency_high_ms:.3f}",
    "ms predicted": "{predicted_ms:.3f}",
    "95 % predicted": "{predicted_low_ms:.3f} to {predicted_high_ms:.3f}",
    "error %": "{error_pct:+.1f}",
    "remarks": "{flags}",
}


def hits_rows(bench: PredictBench) -> list[Row]:
    """One row per number of measured networks, then one for measurements against themselves."""
    return [_hits_row(hits) for hits in _all_hits(bench)]


def held_out_rows(bench: PredictBench) -> list[Row]:
    """One row per held-out network."""
    return [_held_out_row(row) for row in bench.held_out]


def predict_tables(bench: PredictBench) -> tuple[Titled, Titled]:
    """The held-out networks, and how many of them are predicted well."""
    return (
        titled("Held-out networks", _HELD_OUT_NOTE, _HELD_OUT_COLUMNS, held_out_rows(bench)),
        Titled("How often predictions are right", _HITS_NOTE, hits_table(bench)),
    )


def hits_table(bench: PredictBench) -> Table:
    return [
        {
            "of": "predictions" if hits.covered else "measurements again",
            "networks measured": "" if hits.measured is None else str(hits.measured),
            **{f"within {pct} %": str(hits.within[pct]) for pct in HITS_PCT},
            "in the predicted interval": str(hits.covered or ""),
        }
        for hits in _all_hits(bench)
    ]


def sentences(bench: PredictBench) -> list[str]:
    """What the tables hold for."""
    return [
        f"Predictor: {bench.predictor}.",
        f"{bench.left_out} of the drawn networks are left out: not timed, or the measurement did not settle.",
        device_sentence(bench.passport),
    ]


def predict_report(bench: PredictBench) -> BenchReport:
    """`predict-hits.csv`, `predict-networks.csv` and `predict.html`."""
    conditions = {"space": bench.space, "seed": bench.seed, **device_conditions(bench.passport)}
    rows = {"hits": hits_rows(bench), "networks": held_out_rows(bench)}
    networks, hits = predict_tables(bench)
    sections = [
        paragraphs(sentences(bench)),
        section(hits),
        drawn(predict_figure(bench), "predicted", "The figures of the table below."),
        section(networks),
        device_section(conditions),
    ]
    return BenchReport(
        data={"passport": asdict(bench.passport), **rows},
        tables=(networks, hits),
        sentences=sentences(bench),
        files={
            **{f"predict-{name}.csv": csv_text(some, conditions) for name, some in rows.items()},
            "predict.html": page("Predicted latencies", sections),
        },
    )


def predict_figure(bench: PredictBench) -> go.Figure:
    """Predicted over measured, of the held-out networks, and where they would be equal."""
    measured = [row.measurement.latency_ms for row in bench.held_out]
    predicted = [row.prediction for row in bench.held_out]
    figure = go.Figure(layout=LAYOUT)
    ends = [min(measured), max(measured)]
    figure.add_scatter(x=ends, y=ends, name="equal", mode="lines", line={"dash": "dot", "color": GREY})
    trace = points(measured, [p.latency_ms for p in predicted], "held-out networks", BLUE)
    names = [row.arch.key for row in bench.held_out]
    figure.add_trace(trace.update(mode="markers", text=names, error_y=bars(predicted)))
    figure.update_xaxes(title="latency in ms, measured")
    figure.update_yaxes(title="latency in ms, predicted (bars: 95 % interval)")
    return figure


def _all_hits(bench: PredictBench) -> list[Hits]:
    return [*bench.hits, *([bench.repeats] if bench.repeats else [])]


def _hits_row(hits: Hits) -> Row:
    shares = {f"within_{pct}_pct": hits.within[pct] for pct in HITS_PCT} | {"covered": hits.covered}
    row: Row = {"of": "predictions" if hits.covered else "repeated measurements", "measured": hits.measured}
    for name, share in shares.items():
        row |= _share_cells(name, share)
    return row


def _share_cells(name: str, share: Share | None) -> Row:
    low, high = share.interval_pct if share else (None, None)
    return {
        f"{name}_hits": share and share.hits,
        f"{name}_n": share and share.n,
        f"{name}_share_low_pct": low,
        f"{name}_share_high_pct": high,
    }


def _held_out_row(row: HeldOut) -> Row:
    measured, predicted = row.measurement, row.prediction
    return {
        "network": row.arch.key,
        "macs": network_cost(row.arch).macs,
        "latency_ms": measured.latency_ms,
        "latency_low_ms": measured.low_ms,
        "latency_high_ms": measured.high_ms,
        "flags": " ".join(measured.flags),
        "predicted_ms": predicted.latency_ms,
        "predicted_low_ms": predicted.low_ms,
        "predicted_high_ms": predicted.high_ms,
        "error_pct": 100 * (predicted.latency_ms / measured.latency_ms - 1),
        "predictor": predicted.predictor,
    }
