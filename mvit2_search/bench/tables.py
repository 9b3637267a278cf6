"""Benchmarks as tables of text, the same on the terminal and on the page."""

from mvit2_search.bench.attention import AttentionBench
from mvit2_search.bench.models import ModelsBench
from mvit2_search.bench.rows import (
    Row,
    backbone_rows,
    mixer_rows,
    network_rows,
    published_rows,
    slope_rows,
)

Table = list[dict[str, str]]  # rows by heading

MODELS_NOTE = (
    "Measured with random weights and 1000 classes. Parameters and multiply-adds are this program's count. "
    "Published latencies are of other devices, runtimes and protocols: compare them within one source."
)
BACKBONES_NOTE = (
    "Measured: MobileViTv2-1.0 with each of the mixers. Multi-head attention and Linformer take tokens as rows, "
    "with transpositions, separable attention channels first. The backbones of the paper's rows differ: "
    "by its figures the multi-head row is MobileViT-S, the separable one MobileViTv2-1.0."
)
MIXERS_NOTE = (
    "One mixer of 512 channels with random weights, 8 heads, one pixel per patch; Linformer projects to 256 "
    "tokens, or to all where there are fewer. Separable attention takes its tokens channels first, the others as "
    "rows, as in exported networks. The paper draws such curves (figure 1) and prints no figures for them."
)
SLOPES_NOTE = (
    "Slope of log latency over log tokens by least squares, and its 95 % interval (Student's t of the residuals)."
)


def models_table(bench: ModelsBench) -> Table:
    return [
        {"network": row["network"], **_cost(row), **_measured(row), **_published(row)}
        for row in network_rows(bench)
    ]


def published_table() -> Table:
    """Everything that is published of the networks, also what disagrees."""
    return [
        {
            "network": row["model"],
            "input px": _number(row["input_px"]),
            "parameters": _number(row["params"], ","),
            "multiply-adds": _number(row["macs"], ","),
            "top-1 %": _number(row["top1_pct"]),
            "latency ms": _number(row["latency_ms"]) or (row["device"] and row["note"]) or "",
            "device": row["device"] or "",
            "source": row["source"],
            "note": row["note"] or "",
        }
        for row in published_rows()
    ]


def backbones_table(bench: AttentionBench) -> Table:
    return [
        {"attention": row["attention"], **_cost(row), **_measured(row), **_published(row)}
        for row in backbone_rows(bench)
    ]


def mixers_table(bench: AttentionBench) -> Table:
    return [
        {
            "attention": row["attention"],
            "tokens": _number(row["tokens"], ","),
            "multiply-adds": _number(row["macs"], ","),
            **_measured(row),
        }
        for row in mixer_rows(bench)
    ]


def slopes_table(bench: AttentionBench) -> Table:
    return [
        {
            "attention": row["attention"],
            "from tokens": _number(row["from_tokens"], ","),
            "log-log slope": _number(row["slope"], ".2f"),
            "95 % interval": _interval(row["slope_low"], row["slope_high"], ".2f"),
            "points": _number(row["points"]) or "too few",
        }
        for row in slope_rows(bench)
    ]


def _cost(row: Row) -> dict[str, str]:
    return {"parameters": _number(row["params"], ","), "multiply-adds": _number(row["macs"], ",")}


def _measured(row: Row) -> dict[str, str]:
    return {
        "ms here": _number(row["latency_ms"], ".3f"),
        "95 % interval": _interval(row["latency_low_ms"], row["latency_high_ms"], ".3f"),
        "remarks": row["flags"] or row["error"] or "",
    }


def _published(row: Row) -> dict[str, str]:
    return {
        "published top-1 %": _number(row["published_top1_pct"]),
        "published ms": _number(row["published_latency_ms"]),
        "on": (row["published_device"] if row["published_latency_ms"] else None) or "",
        "published in": row["published_source"],
    }


def _number(value: float | None, form: str = "") -> str:
    """Without `form` as it was printed: 69.0 stays 69.0."""
    return "" if value is None else format(value, form)


def _interval(low: float | None, high: float | None, form: str) -> str:
    return "" if low is None else f"{_number(low, form)} to {_number(high, form)}"
