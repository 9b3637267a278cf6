"""The published figures: complete, of networks that exist, and of the cost that the formulas give."""

import json
import subprocess
import sys

import pytest

from mvit2_search.arch import PUBLISHED_WIDTHS, published_name, published_networks
from mvit2_search.arch.cost import MIXER_COSTS, network_cost
from mvit2_search.arch.published import Published, published_by_attention, published_by_network, read_published

ROWS = read_published()
COSTS = {name: network_cost(arch) for name, arch in published_networks().items()}
PRINTED_PARAMS, PRINTED_MACS = 100_000, 100_000_000  # one unit of the last digit in the papers' tables
COUNTED_OTHERWISE = {("mobilevitv1-xs", "arXiv:2110.02178")}  # 0.7 G, where timm and the formulas have 1.0 G


def test_every_row_has_a_source_and_says_something():
    for row in ROWS:
        assert row.source.startswith(("arXiv:", "timm ", "coremltools "))
        assert (row.model is None) != (row.attention is None)
        assert row.top1_pct or row.latency_ms or row.note == "Failed"
        assert (row.device is not None) == (row.latency_ms is not None or row.note == "Failed")


def test_no_row_is_there_twice():
    assert len({(row.model, row.attention, row.device, row.source, row.note) for row in ROWS}) == len(ROWS)


def test_the_networks_are_those_of_the_program():
    assert list(published_by_network()) == list(published_networks())
    assert published_by_attention().keys() == MIXER_COSTS.keys()
    for row in ROWS:
        assert row.input_px in (None, 256)
        second = row.model is not None and row.model.startswith("mobilevitv2")
        assert (published_name(row.width) == row.model) if second else row.width is None


def test_empty_cells_are_none():
    failed = next(row for row in ROWS if row.note == "Failed")
    assert failed == Published(
        model="mobilevitv2-1.0",
        width=1.0,
        attention=None,
        input_px=None,
        params=None,
        macs=None,
        top1_pct=None,
        latency_ms=None,
        device="iPhone 13",
        source="arXiv:2501.15369, table 18",
        note="Failed",
    )


@pytest.mark.parametrize("name", COSTS)
def test_costs_are_those_of_the_formulas(name):
    rows = published_by_network()[name]
    (counted,) = [row for row in rows if row.source.startswith("timm ")]
    assert counted.params == COSTS[name].params
    for row in rows:
        if row.params is not None:
            assert abs(row.params - COSTS[name].params) < PRINTED_PARAMS
        if row.macs is not None:
            near = abs(row.macs - COSTS[name].macs) < PRINTED_MACS
            assert near != ((name, row.source) in COUNTED_OTHERWISE)


def test_the_first_row_is_the_authors():
    headlines = {name: rows[0] for name, rows in published_by_network().items()}
    assert all(row.source.startswith(("arXiv:2206.02680", "arXiv:2110.02178")) for row in headlines.values())
    widths = [headlines[published_name(width)].top1_pct for width in PUBLISHED_WIDTHS]
    assert widths == [70.2, 75.6, 78.1, 79.6, 80.4, 80.8, 81.2]  # MobileViTv2, table 6
    assert [headlines[f"mobilevitv1-{size}"].top1_pct for size in ("xxs", "xs", "s")] == [69.0, 74.8, 78.4]
    latencies = {name: row.latency_ms for name, row in headlines.items() if row.latency_ms is not None}
    assert latencies == {  # MobileViTv2, table 2; MobileViT's own paper for XS and S
        "mobilevitv2-0.5": 1.6,
        "mobilevitv2-1.0": 3.4,
        "mobilevitv2-1.5": 5.1,
        "mobilevitv2-2.0": 7.5,
        "mobilevitv1-xxs": 4.8,
        "mobilevitv1-xs": 7.28,
        "mobilevitv1-s": 9.85,
    }
    assert {headlines[name].device for name in latencies} == {"iPhone 12"}


def test_the_comparison_of_attention_is_that_of_table_1():
    rows = published_by_attention()
    assert {name: (row.latency_ms, row.top1_pct) for name, row in rows.items()} == {
        "multi_head": (9.9, 78.4),
        "linformer": (10.2, 78.2),
        "separable": (3.4, 78.1),
    }


def test_reading_needs_neither_torch_nor_pandas():
    code = (
        "import json, sys; from mvit2_search.arch.published import read_published; read_published();"
        "print(json.dumps(sorted({'torch', 'numpy', 'pandas'} & sys.modules.keys())))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
