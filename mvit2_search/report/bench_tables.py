"""Benchmarks as rows of plain values, for CSV and JSON, and as tables of text, for the terminal and the page."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, NamedTuple

from mvit2_search.analysis.correlation import RankCorrelation
from mvit2_search.arch.published import Published, published_by_attention, published_by_network
from mvit2_search.measure.bench import MIXERS, SLOPE_FROM, AttentionBench, ModelsBench, NetworkTiming, Timing
from mvit2_search.measure.rank import SECOND_VERSION, Comparison, Pair, RankBench
from mvit2_search.records import Failed

Row = dict[str, Any]
Table = list[dict[str, str]]  # one dict per row, by column heading


class Titled(NamedTuple):
    """A table with what is printed above it."""

    title: str
    note: str
    table: Table


def number(value: float | None, form: str = "") -> str:
    """Empty for None; without `form` as Python prints it: 69.0 stays 69.0."""
    return "" if value is None else format(value, form)


def interval(low: float | None, high: float | None, form: str) -> str:
    """`1.234 to 1.250`, empty for None."""
    return "" if low is None else f"{number(low, form)} to {number(high, form)}"


# The published networks and the token mixers

_MODELS_NOTE = (
    "Measured with random weights and 1000 classes. Parameters and multiply-adds are this program's count. "
    "Published latencies are of other devices, runtimes and protocols: compare them only within one source."
)
_BACKBONES_NOTE = (
    "Measured: MobileViTv2-1.0 with each mixer. Multi-head attention and Linformer take tokens as rows, "
    "with transpositions; separable attention takes channels first. The paper's rows differ in the backbone: "
    "by its figures the multi-head row is MobileViT-S, the separable one MobileViTv2-1.0."
)
_MIXERS_NOTE = (
    "One mixer of 512 channels with random weights, 8 heads, one pixel per patch; Linformer projects to 256 "
    "tokens, or to all if there are fewer. Separable attention takes its tokens channels first, the others as "
    "rows, as in exported networks. The paper draws such curves (figure 1) and prints no figures for them."
)
_SLOPES_NOTE = (
    "Slope of log latency over log tokens by least squares, and its 95 % interval (Student's t of the residuals)."
)
_TIMING = ("latency_ms", "latency_low_ms", "latency_high_ms", "pairs", "flags", "error")
_PUBLISHED = ("top1_pct", "latency_ms", "device", "source", "note")


def network_rows(bench: ModelsBench) -> list[Row]:
    """One row per network: measured, then the authors' figures, then what other sources print."""
    published = published_by_network()
    return [
        {
            "network": one.name,
            **_network_row(one, published[one.name][0]),
            "published_elsewhere": "; ".join(map(_in_words, published[one.name][1:])),
        }
        for one in bench.networks
    ]


def backbone_rows(bench: AttentionBench) -> list[Row]:
    """One row per mixer in the same backbone: measured, then what the paper prints of its own."""
    published = published_by_attention()
    return [{"attention": one.name, **_network_row(one, published[one.name])} for one in bench.networks]


def mixer_rows(bench: AttentionBench) -> list[Row]:
    """One row per mixer and number of tokens."""
    return [
        {"attention": row.attention, "tokens": row.tokens, "macs": row.macs, **_timing_row(row.timing)}
        for row in bench.mixers
    ]


def slope_rows(bench: AttentionBench) -> list[Row]:
    """One row per mixer; no slope if too few numbers of tokens were timed."""
    rows = []
    for mixer in MIXERS:
        slope = bench.slope(mixer)
        values = (slope.value, slope.low, slope.high, slope.points) if slope else (None,) * 4
        columns = ("slope", "slope_low", "slope_high", "points")
        rows.append({"attention": mixer, "from_tokens": SLOPE_FROM, **dict(zip(columns, values, strict=True))})
    return rows


def published_rows() -> list[Row]:
    """Every published row of a network."""
    return [asdict(row) for rows in published_by_network().values() for row in rows]


def models_tables(bench: ModelsBench) -> tuple[Titled, Titled]:
    """The networks as measured, and everything that is published of them."""
    networks = [{"network": row["network"], **_network_cells(row)} for row in network_rows(bench)]
    return Titled("Measured here", _MODELS_NOTE, networks), Titled("Published", "", published_table())


def published_table() -> Table:
    """Everything that is published of the networks, even where sources disagree."""
    return [
        {
            "network": row["model"],
            "input px": number(row["input_px"]),
            **_cost_cells(row),
            "top-1 %": number(row["top1_pct"]),
            "latency ms": number(row["latency_ms"]) or (row["device"] and row["note"]) or "",
            "device": row["device"] or "",
            "source": row["source"],
            "note": row["note"] or "",
        }
        for row in published_rows()
    ]


def attention_tables(bench: AttentionBench) -> tuple[Titled, Titled, Titled]:
    """The mixers in one backbone, each alone, and how their latencies grow."""
    backbones = [{"attention": row["attention"], **_network_cells(row)} for row in backbone_rows(bench)]
    return (
        Titled("The same backbone with each mixer", _BACKBONES_NOTE, backbones),
        Titled("Each mixer alone", _MIXERS_NOTE, mixers_table(bench)),
        Titled("Growth with the number of tokens", _SLOPES_NOTE, slopes_table(bench)),
    )


def mixers_table(bench: AttentionBench) -> Table:
    return [
        {
            "attention": row["attention"],
            "tokens": number(row["tokens"], ","),
            "multiply-adds": number(row["macs"], ","),
            **_timing_cells(row),
        }
        for row in mixer_rows(bench)
    ]


def slopes_table(bench: AttentionBench) -> Table:
    return [
        {
            "attention": row["attention"],
            "from tokens": number(row["from_tokens"], ","),
            "log-log slope": number(row["slope"], ".2f"),
            "95 % interval": interval(row["slope_low"], row["slope_high"], ".2f"),
            "points": number(row["points"]) or "too few",
        }
        for row in slope_rows(bench)
    ]


def _network_row(one: NetworkTiming, published: Published) -> Row:
    figures = {f"published_{name}": getattr(published, name) for name in _PUBLISHED}
    return {"params": one.cost.params, "macs": one.cost.macs, **_timing_row(one.timing), **figures}


def _timing_row(timing: Timing) -> Row:
    if isinstance(timing, Failed):
        return dict.fromkeys(_TIMING) | {"error": timing.message}
    values = (timing.latency_ms, timing.low_ms, timing.high_ms, timing.pairs, " ".join(timing.flags), None)
    return dict(zip(_TIMING, values, strict=True))


def _in_words(row: Published) -> str:
    """`3.8 ms on iPhone 12 (arXiv:2401.16456)`, `Failed on iPhone 13 (...)`, `78.088 % (...)`."""
    parts = []
    if row.top1_pct is not None:
        parts.append(f"{row.top1_pct} %")
    if row.device is not None:
        parts.append(f"{'Failed' if row.latency_ms is None else f'{row.latency_ms} ms'} on {row.device}")
    source = f"{row.source}: {row.note}" if row.note and row.latency_ms is not None else row.source
    return f"{', '.join(parts)} ({source})"


def _network_cells(row: Row) -> dict[str, str]:
    return {
        **_cost_cells(row),
        **_timing_cells(row),
        "published top-1 %": number(row["published_top1_pct"]),
        "published ms": number(row["published_latency_ms"]),
        "on": (row["published_device"] if row["published_latency_ms"] else None) or "",
        "published in": row["published_source"],
    }


def _cost_cells(row: Row) -> dict[str, str]:
    return {"parameters": number(row["params"], ","), "multiply-adds": number(row["macs"], ",")}


def _timing_cells(row: Row) -> dict[str, str]:
    return {
        "ms here": number(row["latency_ms"], ".3f"),
        "95 % interval": interval(row["latency_low_ms"], row["latency_high_ms"], ".3f"),
        "remarks": row["flags"] or row["error"] or "",
    }


# Whether two devices rank networks alike

_RANK_NOTE = (
    "Kendall's tau: the share of pairs of networks in the same order minus the share in the other order. Its "
    "95 % interval is for networks drawn like these, and holds for any number of them. Beyond multiply-adds: the "
    "same for the residuals of a line through the logarithms of multiply-adds and latency, whose own error is "
    "ignored. Multiply-adds alone: the order by multiply-adds, which needs no device, against the second source."
)
_PHONES_NOTE = (
    "Published latencies on phones, by all sources. The sources disagree on networks of the same name, and one "
    "could not run the network, so these figures rank networks only roughly."
)
_ORDER_OF = {
    "plain": "latency",
    "beyond_macs": "latency beyond multiply-adds",
    "macs_alone": "multiply-adds alone",
}
_CORRELATION = ("kendall", "low", "high", "p_value", "spearman")
PAIR_COLUMNS = (  # of `pair_rows`, also if there are none
    *("networks", "network", "macs", "a_source", "b_source"),
    *(f"{side}_{kind}_ms" for side in ("a", "b") for kind in ("measured", "predicted", "published")),
)


def correlation_rows(bench: RankBench) -> list[Row]:
    """Three rows per kind of networks, or one that says why there is no correlation."""
    return [row for comparison in bench.comparisons for row in _comparison_rows(bench, comparison)]


def pair_rows(bench: RankBench) -> list[Row]:
    """One row per network, with `PAIR_COLUMNS`: the column of a latency says of which kind it is."""
    rows = []
    for networks, pair in _pairs(bench):
        values = {
            "networks": networks,
            "network": pair.network,
            "macs": pair.macs,
            "a_source": bench.a.name,
            "b_source": bench.b.name,
            f"a_{bench.a.kind}_ms": pair.a_ms,
            f"b_{bench.b.kind}_ms": pair.b_ms,
        }
        rows.append(dict.fromkeys(PAIR_COLUMNS) | values)
    return rows


def rank_tables(bench: RankBench) -> tuple[Titled, Titled, Titled]:
    """The networks with both latencies, what is published for phones, and the correlations."""
    return (
        Titled("The networks", "", pairs_table(bench)),
        Titled("Published for phones", _PHONES_NOTE, phones_table()),
        Titled("Do they rank networks alike?", _RANK_NOTE, rank_table(bench)),
    )


def rank_table(bench: RankBench) -> Table:
    return [
        {
            "networks": row["networks"],
            "order of": row["order_of"],
            "n": str(row["n"]),
            "Kendall's tau": number(row["kendall"], ".2f"),
            "95 % interval": interval(row["low"], row["high"], ".2f"),
            "p": number(row["p_value"], ".1g"),
            "Spearman's rho": number(row["spearman"], ".2f"),
            "remark": row["remark"],
        }
        for row in correlation_rows(bench)
    ]


def pairs_table(bench: RankBench) -> Table:
    first, second = (f"ms {source.kind}, {source.name}" for source in (bench.a, bench.b))
    if first == second:
        second += " (again)"
    return [
        {
            "network": pair.network,
            "multiply-adds": f"{pair.macs:,}",
            first: f"{pair.a_ms:.3f}",
            second: f"{pair.b_ms:.3f}",
        }
        for _, pair in _pairs(bench)
    ]


def phones_table() -> Table:
    """All published latencies and failures on a phone."""
    names = ("network", "latency ms", "device", "source", "note")
    return [{name: row[name] for name in names} for row in published_table() if row["device"]]


def _pairs(bench: RankBench) -> Iterator[tuple[str, Pair]]:
    """Each network once, with the name of the networks that it is one of."""
    for comparison in bench.comparisons:
        if comparison.networks != SECOND_VERSION:  # those are among both versions
            yield from ((comparison.networks, pair) for pair in comparison.pairs)


def _comparison_rows(bench: RankBench, comparison: Comparison) -> list[Row]:
    return [
        {
            "networks": comparison.networks,
            "order_of": words,
            "a": bench.a.name if kind != "macs_alone" else "multiply-adds",
            "b": bench.b.name,
            "n": len(comparison.pairs),
            **_correlation_row(getattr(comparison, kind)),
            "remark": comparison.remark if kind == "plain" else "",
        }
        for kind, words in _ORDER_OF.items()
        if comparison.plain or kind == "plain"
    ]


def _correlation_row(found: RankCorrelation | None) -> Row:
    return {name: getattr(found, name) if found else None for name in _CORRELATION}
