"""Benchmarks as rows of plain values for CSV and JSON, and as tables of text.

Benchmarks as rows of plain values, for CSV and JSON. What is published has its own columns.

Benchmarks as tables of text, the same on the terminal and on the page.

The comparison of two orders as rows of plain values, and as tables of text.
"""

from dataclasses import asdict
from typing import Any

from mvit2_search.analysis.correlation import RankCorrelation
from mvit2_search.arch.cost import Cost
from mvit2_search.arch.published_figures import Published, published_by_attention, published_by_network
from mvit2_search.measure.bench import MIXERS, SLOPE_FROM, AttentionBench, ModelsBench, Timing
from mvit2_search.measure.rank import Comparison, RankBench
from mvit2_search.records import Failed

Row = dict[str, Any]

_MEASURED = ("latency_ms", "latency_low_ms", "latency_high_ms", "pairs", "flags", "error")


def network_rows(bench: ModelsBench) -> list[Row]:
    """One row per network: measured, then the authors' headline, then what others print."""
    published = published_by_network()
    return [
        {
            "network": network.name,
            **_cost(network.cost),
            **_measured(network.timing),
            **_published(published[network.name][0]),
            "published_elsewhere": "; ".join(map(_in_words, published[network.name][1:])),
        }
        for network in bench.networks
    ]


def backbone_rows(bench: AttentionBench) -> list[Row]:
    """One row per mixer in the same backbone: measured, then what the paper prints of its own."""
    published = published_by_attention()
    return [
        {
            "attention": network.name,
            **_cost(network.cost),
            **_measured(network.timing),
            **_published(published[network.name]),
        }
        for network in bench.networks
    ]


def mixer_rows(bench: AttentionBench) -> list[Row]:
    """One row per mixer and number of tokens."""
    return [
        {"attention": row.attention, "tokens": row.tokens, "macs": row.macs, **_measured(row.timing)}
        for row in bench.mixers
    ]


def slope_rows(bench: AttentionBench) -> list[Row]:
    """One row per mixer; without a slope where too few numbers of tokens were timed."""
    names = ("slope", "slope_low", "slope_high", "points")
    rows = []
    for mixer in MIXERS:
        slope = bench.slope(mixer)
        values = (slope.value, slope.low, slope.high, slope.points) if slope else (None,) * len(names)
        rows.append({"attention": mixer, "from_tokens": SLOPE_FROM, **dict(zip(names, values, strict=True))})
    return rows


def published_rows() -> list[Row]:
    """Every published row of a network."""
    return [asdict(row) for rows in published_by_network().values() for row in rows]


def _cost(cost: Cost) -> Row:
    return {"params": cost.params, "macs": cost.macs}


def _measured(timing: Timing) -> Row:
    if isinstance(timing, Failed):
        return dict.fromkeys(_MEASURED) | {"error": timing.message}
    return {
        "latency_ms": timing.latency_ms,
        "latency_low_ms": timing.low_ms,
        "latency_high_ms": timing.high_ms,
        "pairs": timing.pairs,
        "flags": " ".join(timing.flags),
        "error": None,
    }


def _published(row: Published) -> Row:
    names = ("top1_pct", "latency_ms", "device", "source", "note")
    return {f"published_{name}": getattr(row, name) for name in names}


def _in_words(row: Published) -> str:
    """`3.8 ms on iPhone 12 (arXiv:2401.16456)`, `Failed on iPhone 13 (...)`, `78.088 % (...)`."""
    parts = []
    if row.top1_pct is not None:
        parts.append(f"{row.top1_pct} %")
    if row.device is not None:
        parts.append(f"{'Failed' if row.latency_ms is None else f'{row.latency_ms} ms'} on {row.device}")
    source = f"{row.source}: {row.note}" if row.note and row.latency_ms is not None else row.source
    return f"{', '.join(parts)} ({source})"


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
        {"network": row["network"], **_cost_cells(row), **_measured_cells(row), **_published_cells(row)}
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
        {"attention": row["attention"], **_cost_cells(row), **_measured_cells(row), **_published_cells(row)}
        for row in backbone_rows(bench)
    ]


def mixers_table(bench: AttentionBench) -> Table:
    return [
        {
            "attention": row["attention"],
            "tokens": _number(row["tokens"], ","),
            "multiply-adds": _number(row["macs"], ","),
            **_measured_cells(row),
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


def _cost_cells(row: Row) -> dict[str, str]:
    return {"parameters": _number(row["params"], ","), "multiply-adds": _number(row["macs"], ",")}


def _measured_cells(row: Row) -> dict[str, str]:
    return {
        "ms here": _number(row["latency_ms"], ".3f"),
        "95 % interval": _interval(row["latency_low_ms"], row["latency_high_ms"], ".3f"),
        "remarks": row["flags"] or row["error"] or "",
    }


def _published_cells(row: Row) -> dict[str, str]:
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


RANK_NOTE = (
    "Kendall's tau: the share of pairs of networks in the same order less the share in the other. Its interval "
    "(95 %, for networks drawn like these) holds for any number of networks. Beyond multiply-adds: of what a line "
    "through the logarithms of multiply-adds and latency leaves, where the line's own error is not counted. "
    "Multiply-adds alone: the order of a count that needs no device, against the second source."
)
PHONES_NOTE = (
    "What is published of the latency on phones, by all sources. They disagree on networks of the same name, and "
    "one could not run the network: no order of them is more certain than that."
)
PAIR_COLUMNS = (  # of `pair_rows`, also where there are none
    *("networks", "network", "macs", "a_source", "b_source"),
    *(f"{side}_{kind}_ms" for side in ("a", "b") for kind in ("measured", "predicted", "published")),
)
_OF = {
    "plain": "latency",
    "beyond_macs": "latency beyond multiply-adds",
    "macs_alone": "multiply-adds alone",
}


def correlation_rows(bench: RankBench) -> list[Row]:
    """Three rows per kind of networks, or one that says why there is nothing."""
    return [row for comparison in bench.comparisons for row in _rows(bench, comparison)]


def pair_rows(bench: RankBench) -> list[Row]:
    """One row per network; the latencies of either source in a column that says of which kind they are."""
    sides = (("a", bench.a), ("b", bench.b))
    return [
        {
            "networks": comparison.networks,
            "network": pair.network,
            "macs": pair.macs,
            **{f"{side}_source": source.name for side, source in sides},
            **{
                f"{side}_{kind}_ms": getattr(pair, f"{side}_ms") if source.kind == kind else None
                for side, source in sides
                for kind in ("measured", "predicted", "published")
            },
        }
        for comparison in bench.comparisons
        if comparison.networks != "published, MobileViTv2 only"  # those are among the others
        for pair in comparison.pairs
    ]


def rank_table(bench: RankBench) -> Table:
    return [
        {
            "networks": row["networks"],
            "order of": row["order_of"],
            "n": str(row["n"]),
            "Kendall's tau": _two_digits(row["kendall"]),
            "95 % interval": "" if row["kendall"] is None else f"{row['low']:.2f} to {row['high']:.2f}",
            "p": "" if row["p_value"] is None else f"{row['p_value']:.1g}",
            "Spearman's rho": _two_digits(row["spearman"]),
            "remark": row["remark"],
        }
        for row in correlation_rows(bench)
    ]


def pairs_table(bench: RankBench) -> Table:
    names = [f"ms {source.kind}, {source.name}" for source in (bench.a, bench.b)]
    if len(set(names)) == 1:
        names[1] += " (again)"
    return [
        {
            "network": pair.network,
            "multiply-adds": f"{pair.macs:,}",
            names[0]: f"{pair.a_ms:.3f}",
            names[1]: f"{pair.b_ms:.3f}",
        }
        for comparison in bench.comparisons
        if comparison.networks != "published, MobileViTv2 only"
        for pair in comparison.pairs
    ]


def phones_table() -> Table:
    """All published latencies and failures on a phone."""
    names = ("network", "latency ms", "device", "source", "note")
    return [{name: row[name] for name in names} for row in published_table() if row["device"]]


def _rows(bench: RankBench, comparison: Comparison) -> list[Row]:
    kinds = _OF if comparison.plain else {"plain": _OF["plain"]}
    return [
        {
            "networks": comparison.networks,
            "order_of": words,
            "a": bench.a.name if kind != "macs_alone" else "multiply-adds",
            "b": bench.b.name,
            **_cells(getattr(comparison, kind), len(comparison.pairs)),
            "remark": comparison.remark if kind == "plain" else "",
        }
        for kind, words in kinds.items()
    ]


def _cells(found: RankCorrelation | None, n: int) -> Row:
    names = ("kendall", "low", "high", "p_value", "spearman")
    return {"n": n, **{name: getattr(found, name) if found else None for name in names}}


def _two_digits(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
