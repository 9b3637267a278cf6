"""The comparison of two orders as rows of plain values, and as tables of text."""

from mvit2_search.bench.correlation import RankCorrelation
from mvit2_search.bench.rank import Comparison, RankBench
from mvit2_search.bench.rows import Row
from mvit2_search.bench.tables import Table, published_table

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
            "Kendall's tau": _number(row["kendall"]),
            "95 % interval": "" if row["kendall"] is None else f"{row['low']:.2f} to {row['high']:.2f}",
            "p": "" if row["p_value"] is None else f"{row['p_value']:.1g}",
            "Spearman's rho": _number(row["spearman"]),
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


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
