"""Benchmarks as rows of plain values, for CSV and JSON. What is published has its own columns."""

from dataclasses import asdict
from typing import Any

from mvit2_search.bench.attention import MIXERS, SLOPE_FROM, AttentionBench
from mvit2_search.bench.models import ModelsBench
from mvit2_search.bench.timings import Timing
from mvit2_search.complexity import Cost
from mvit2_search.published import Published, published_by_attention, published_by_network
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
