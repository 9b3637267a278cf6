"""Networks of a band are spread over the axes of a space; and the score that needs no data."""

import math
from collections import Counter

import pytest
import torch

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.cost import network_cost
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.models.synflow import _absolute, _flow, synflow
from mvit2_search.search.stratified import StratifiedDraw
from mvit2_search.space import load_space

BLOCKS = load_space("blocks")
HEAD = ClassifierHead(10)


def guess_ms(arch):
    return network_cost(arch, HEAD).macs / 1e8


def draw(**changes):
    settings = {"guess_ms": guess_ms, "low_ms": 1.5, "high_ms": 3.0, "seed": 0}
    return StratifiedDraw(BLOCKS, **{**settings, **changes})


def drawn(one, count):
    found = []
    for _ in range(count):
        params = one.next()
        one.take(BLOCKS.decode(params).key, params)
        found.append(params)
    return found


@pytest.mark.slow
def test_drawn_networks_are_different_and_in_the_band():
    found = [BLOCKS.decode(params) for params in drawn(draw(), 12)]
    assert len({arch.key for arch in found}) == 12
    assert all(1.5 <= guess_ms(arch) <= 3.0 for arch in found)


@pytest.mark.slow
def test_equal_seeds_draw_equal_networks():
    assert drawn(draw(), 4) == drawn(draw(), 4)
    assert drawn(draw(), 4) != drawn(draw(seed=1), 4)


def test_latencies_are_spread_over_the_band():
    found = [guess_ms(BLOCKS.decode(params)) for params in drawn(draw(), 16)]
    lower = sum(value < 2.25 for value in found)
    assert 4 <= lower <= 12


def unevenness(found, judge):
    """Mean over the axes of the share of the most frequent level."""
    counts = Counter(level for params in found for level in judge._levels(params))
    most = {}
    for (axis, _), count in counts.items():
        most[axis] = max(most.get(axis, 0), count)
    return sum(most.values()) / len(most) / len(found)


@pytest.mark.slow
def test_values_of_the_axes_are_more_even_than_without_a_choice():
    blind = draw()
    blind._levels = lambda params: []  # nothing is counted: the first draw is taken
    chosen, first = drawn(draw(), 18), drawn(blind, 18)
    judge = draw(seed=7)
    judge.next()  # finds the levels
    assert unevenness(chosen, judge) < unevenness(first, judge) - 0.1


@pytest.mark.slow
def test_a_band_without_networks_gives_none():
    assert draw(low_ms=1e-6, high_ms=2e-6).next() is None


def test_a_refused_network_is_never_proposed_again():
    one = draw()
    first = BLOCKS.decode(one.next()).key
    one.take(first, None)
    assert first not in {BLOCKS.decode(params).key for params in drawn(one, 5)}


def test_synflow_is_how_the_outputs_grow_with_all_weights():
    """The sum of weight times gradient is the derivative by a factor on all weights, here a difference."""
    arch, step = ArchConfig.mobilevitv2(0.25, attention_layers=0), 1e-4

    def outputs(factor):
        model = _absolute(arch, HEAD)
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(factor)
            return _flow(model).item()

    slope = (outputs(1 + step) - outputs(1 - step)) / (2 * step)
    assert synflow(arch, HEAD) == pytest.approx(math.log(slope), abs=1e-5)


@pytest.mark.parametrize("setting", [{"attention_layers": (2, 4, 3)}, {"attention": "multi_head"}])
def test_synflow_is_finite_for_deep_attention_and_leaves_the_random_state(setting):
    before = torch.get_rng_state()
    value = synflow(ArchConfig.mobilevitv2(0.5, **setting), HEAD)
    assert torch.equal(torch.get_rng_state(), before)
    assert 0 < value < 700
    assert value == synflow(ArchConfig.mobilevitv2(0.5, **setting), HEAD)


def test_synflow_grows_with_the_width():
    values = [synflow(ArchConfig.mobilevitv2(width), HEAD) for width in (0.5, 0.75, 1.0)]
    assert values == sorted(values)
