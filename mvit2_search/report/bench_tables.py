"""Benchmarks as rows of plain values, for CSV and JSON, and as tables of text, for the terminal and the page."""

from collections.abc import Iterable
from dataclasses import asdict
from string import Formatter
from typing import Any, NamedTuple

from mvit2_search.analysis.correlation import RankCorrelation
from mvit2_search.arch.published import Published, published_by_attention, published_by_network
from mvit2_search.measure.bench import MIXERS, SLOPE_FROM, AttentionBench, ModelsBench, NetworkTiming, Timing
from mvit2_search.measure.rank import SECOND_VERSION, RankBench
from mvit2_search.records import Failed

Row = dict[str, Any]
Table = list[dict[str, str]]  # one dict per row, by column heading


class Titled(NamedTuple):
    """A table with what is printed above it."""

    title: str
    note: str
    table: Table


def titled(title: str, note: str, columns: dict[str, str], rows: Iterable[Row]) -> Titled:
    """A table of `rows`: by heading, each column is a template such as `{low:.2f} to {high:.2f}`.

    A cell is empty if a value in it is None. Without a format, numbers are as Python prints them: 69.0 stays 69.0.
    """
    return Titled(title, note, [{name: _cell(form, row) for name, form in columns.items()} for row in rows])


def _cell(template: str, row: Row) -> str:
    names = [name for _, name, _, _ in Formatter().parse(template) if name]
    return "" if any(row[name] is None for name in names) else template.format_map(row)


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
_COST_COLUMNS = {"parameters": "{params:,}", "multiply-adds": "{macs:,}"}
_TIMING_COLUMNS = {
    "ms here": "{latency_ms:.3f}",
    "95 % interval": "{latency_low_ms:.3f} to {latency_high_ms:.3f}",
    "remarks": "{remarks}",
}
_NETWORK_COLUMNS = {
    **_COST_COLUMNS,
    **_TIMING_COLUMNS,
    "published top-1 %": "{published_top1_pct}",
    "published ms": "{published_latency_ms}",
    "on": "{published_device}",
    "published in": "{published_source}",
}
_PUBLISHED_COLUMNS = {
    "network": "{model}",
    "input px": "{input_px}",
    **_COST_COLUMNS,
    "top-1 %": "{top1_pct}",
    "latency ms": "{latency}",
    "device": "{device}",
    "source": "{source}",
    "note": "{note}",
}
_MIXER_COLUMNS = {
    "attention": "{attention}",
    "tokens": "{tokens:,}",
    "multiply-adds": "{macs:,}",
    **_TIMING_COLUMNS,
}
_SLOPE_COLUMNS = {
    "attention": "{attention}",
    "from tokens": "{from_tokens:,}",
    "log-log slope": "{slope:.2f}",
    "95 % interval": "{slope_low:.2f} to {slope_high:.2f}",
    "points": "{points}",
}


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
    slopes = {mixer: bench.slope(mixer) for mixer in MIXERS}
    return [
        {
            "attention": mixer,
            "from_tokens": SLOPE_FROM,
            "slope": slope and slope.value,
            "slope_low": slope and slope.low,
            "slope_high": slope and slope.high,
            "points": slope and slope.points,
        }
        for mixer, slope in slopes.items()
    ]


def published_rows() -> list[Row]:
    """Every published row of a network."""
    return [asdict(row) for rows in published_by_network().values() for row in rows]


def models_tables(bench: ModelsBench) -> tuple[Titled, Titled]:
    """The networks as measured, and everything that is published of them."""
    columns = {"network": "{network}", **_NETWORK_COLUMNS}
    return titled("Measured here", _MODELS_NOTE, columns, _remarked(network_rows(bench))), published_table()


def published_table() -> Titled:
    """Everything that is published of the networks, even where sources disagree; "Failed" is in a note."""
    rows = [row | {"latency": row["latency_ms"] or (row["device"] and row["note"])} for row in published_rows()]
    return titled("Published", "", _PUBLISHED_COLUMNS, rows)


def attention_tables(bench: AttentionBench) -> tuple[Titled, Titled, Titled]:
    """The mixers in one backbone, each alone, and how their latencies grow."""
    columns = {"attention": "{attention}", **_NETWORK_COLUMNS}
    backbones, mixers = _remarked(backbone_rows(bench)), _remarked(mixer_rows(bench))
    slopes = [row | {"points": row["points"] or "too few"} for row in slope_rows(bench)]
    return (
        titled("The same backbone with each mixer", _BACKBONES_NOTE, columns, backbones),
        titled("Each mixer alone", _MIXERS_NOTE, _MIXER_COLUMNS, mixers),
        titled("Growth with the number of tokens", _SLOPES_NOTE, _SLOPE_COLUMNS, slopes),
    )


def _remarked(rows: list[Row]) -> list[Row]:
    """With the flags of the timing, or why there is none."""
    return [row | {"remarks": row["flags"] or row["error"]} for row in rows]


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
_ORDER_OF = {  # by correlations of a comparison
    "plain": "latency",
    "beyond_macs": "latency beyond multiply-adds",
    "macs_alone": "multiply-adds alone",
}
_CORRELATION_COLUMNS = {
    "networks": "{networks}",
    "order of": "{order_of}",
    "n": "{n}",
    "Kendall's tau": "{kendall:.2f}",
    "95 % interval": "{low:.2f} to {high:.2f}",
    "p": "{p_value:.1g}",
    "Spearman's rho": "{spearman:.2f}",
    "remark": "{remark}",
}
_CORRELATION = ("kendall", "low", "high", "p_value", "spearman")
PAIR_COLUMNS = (  # of `pair_rows`, also if there are none
    *("networks", "network", "macs", "a_source", "b_source"),
    *(f"{side}_{kind}_ms" for side in ("a", "b") for kind in ("measured", "predicted", "published")),
)


def correlation_rows(bench: RankBench) -> list[Row]:
    """Three rows per kind of networks, or one that says why there is no correlation."""
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
        for comparison in bench.comparisons
        for kind, words in _ORDER_OF.items()
        if comparison.plain or kind == "plain"
    ]


def _correlation_row(found: RankCorrelation | None) -> Row:
    return {name: getattr(found, name) if found else None for name in _CORRELATION}


def pair_rows(bench: RankBench) -> list[Row]:
    """One row per network, with `PAIR_COLUMNS`: the column of a latency says of which kind it is."""
    return [
        dict.fromkeys(PAIR_COLUMNS)
        | {
            "networks": comparison.networks,
            "network": pair.network,
            "macs": pair.macs,
            "a_source": bench.a.name,
            "b_source": bench.b.name,
            f"a_{bench.a.kind}_ms": pair.a_ms,
            f"b_{bench.b.kind}_ms": pair.b_ms,
        }
        for comparison in bench.comparisons
        if comparison.networks != SECOND_VERSION  # those are among both versions
        for pair in comparison.pairs
    ]


def rank_tables(bench: RankBench) -> tuple[Titled, Titled, Titled]:
    """The networks with both latencies, what is published for phones, and the correlations."""
    first, second = (f"ms {source.kind}, {source.name}" for source in (bench.a, bench.b))
    if first == second:
        second += " (again)"
    columns = {"network": "{network}", "multiply-adds": "{macs:,}"}
    columns |= {first: f"{{a_{bench.a.kind}_ms:.3f}}", second: f"{{b_{bench.b.kind}_ms:.3f}}"}
    return (
        titled("The networks", "", columns, pair_rows(bench)),
        Titled("Published for phones", _PHONES_NOTE, phones_table()),
        titled("Do they rank networks alike?", _RANK_NOTE, _CORRELATION_COLUMNS, correlation_rows(bench)),
    )


def phones_table() -> Table:
    """All published latencies and failures on a phone."""
    names = ("network", "latency ms", "device", "source", "note")
    return [{name: row[name] for name in names} for row in published_table().table if row["device"]]
