"""The benchmark of predictions as rows of plain values, and as tables of text."""

from predictor_bench.hits import HITS_PCT, Share
from predictor_bench.run import HeldOut, Hits, PredictBench

from mvit2_search.arch.cost import network_cost
from mvit2_search.report.bench_tables import Row, Table

HITS_NOTE = (
    "Held-out networks were measured and took no part in the fit. Intervals of shares are exact (Clopper-Pearson, "
    "95 %). The last row is the repeatability of measurements: held-out networks measured a second time, against "
    "their first measurement. Predictions cannot be expected to agree better with it."
)
HELD_OUT_NOTE = "Measured and predicted latencies, each with its 95 % interval; the error is of the predicted."


def hits_rows(bench: PredictBench) -> list[Row]:
    """One row per number of measured networks, then one for measurements against themselves."""
    return [_hits_row(hits) for hits in (*bench.hits, *([bench.repeats] if bench.repeats else []))]


def held_out_rows(bench: PredictBench) -> list[Row]:
    """One row per held-out network."""
    return [_held_out_row(row) for row in bench.held_out]


def left_out_sentence(bench: PredictBench) -> str:
    return f"{bench.left_out} of the drawn networks are left out: not timed, or the measurement did not settle."


def hits_table(bench: PredictBench) -> Table:
    every = [*bench.hits, *([bench.repeats] if bench.repeats else [])]
    return [
        {
            "of": "predictions" if hits.covered else "measurements again",
            "networks measured": "" if hits.measured is None else str(hits.measured),
            **{f"within {pct} %": str(hits.within[pct]) for pct in HITS_PCT},
            "in the predicted interval": str(hits.covered) if hits.covered else "",
        }
        for hits in every
    ]


def held_out_table(bench: PredictBench) -> Table:
    return [
        {
            "network": row["network"],
            "multiply-adds": f"{row['macs']:,}",
            "ms measured": f"{row['latency_ms']:.3f}",
            "95 % measured": f"{row['latency_low_ms']:.3f} to {row['latency_high_ms']:.3f}",
            "ms predicted": f"{row['predicted_ms']:.3f}",
            "95 % predicted": f"{row['predicted_low_ms']:.3f} to {row['predicted_high_ms']:.3f}",
            "error %": f"{row['error_pct']:+.1f}",
            "remarks": row["flags"],
        }
        for row in held_out_rows(bench)
    ]


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
