"""Costs by formula against counts on the built network, and both against the paper; elements moved by hand."""

from dataclasses import replace

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.cost import network_cost, network_operators
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.models import profile as profile_module
from mvit2_search.models.profile import profile
from test_arch import archs
from test_models import PARAMS, V1_PARAMS

# arXiv:2206.02680, table 6, worked out to four digits; in thousand million multiply-adds at 256 pixels
GMACS = {0.5: 0.4646, 0.75: 1.0280, 1.0: 1.8121, 1.25: 2.8169, 1.5: 4.0425, 1.75: 5.4888, 2.0: 7.1558}


@pytest.mark.parametrize("width", GMACS)
def test_multiply_adds_are_the_published_ones(width):
    arch = ArchConfig.mobilevitv2(width)
    assert round(network_cost(arch).macs / 1e9, 4) == GMACS[width]
    assert round(profile(arch)[-1].macs / 1e9, 4) == GMACS[width]


# timm's mobilevit_xxs, _xs and _s with their attention's matrix products
V1_GMACS = {"xxs": 0.407, "xs": 1.026, "s": 2.001}


@pytest.mark.parametrize("size", V1_GMACS)
def test_costs_of_the_first_version_are_the_published_ones(size):
    arch = ArchConfig.mobilevitv1(size)
    assert network_cost(arch).params == V1_PARAMS[size]
    assert round(network_cost(arch).macs / 1e9, 3) == V1_GMACS[size]
    assert round(profile(arch)[-1].macs / 1e9, 3) == V1_GMACS[size]


@pytest.mark.parametrize("width", PARAMS)
def test_parameters_by_formula_are_the_published_ones(width):
    assert network_cost(ArchConfig.mobilevitv2(width)).params == PARAMS[width]


ODD = ArchConfig.mobilevitv2(0.7, attention="linformer", patch_size=3, kernel_size=5, image_size=250)
HALF_BLOCKS = ArchConfig.mobilevitv2(1.0, attention_layers=(0, 1, 2), attention="multi_head")
first_version = st.builds(
    lambda size, **changes: replace(ArchConfig.mobilevitv1(size), **changes),
    st.sampled_from(["xxs", "xs"]),
    image_size=st.sampled_from([132, 200, 256]),
    patch_sizes=st.tuples(*[st.sampled_from([1, 2, 4])] * 3),
    attention_layers=st.tuples(*[st.integers(0, 2)] * 3),
    attention=st.tuples(*[st.sampled_from(["separable", "multi_head", "linformer"])] * 3),
)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(archs | first_version)
@example(ODD)
@example(HALF_BLOCKS)
def test_the_formula_agrees_with_counting_in_every_stage(arch):
    *parts, total = profile(arch, ClassifierHead(10))
    operators = network_operators(arch, ClassifierHead(10))
    for part in parts:
        mine = [o for o in operators if o.block == part.part]
        assert (part.params, part.macs) == (sum(o.params for o in mine), sum(o.macs for o in mine))
    assert (total.params, total.macs) == (
        network_cost(arch, ClassifierHead(10)).params,
        network_cost(arch, ClassifierHead(10)).macs,
    )


def test_a_convolution_moves_its_input_and_its_output():
    stem, activation = network_operators(ArchConfig.mobilevitv2(1.0))[:2]
    assert stem.elements == 3 * 256**2 + 32 * 128**2
    assert (stem.params, stem.macs) == (27 * 32 + 2 * 32, 27 * 32 * 128**2)  # with its batch normalisation
    assert activation.elements == 2 * 32 * 128**2
    assert (stem.kind, activation.kind, stem.block, stem.encoder) == ("dense", "elementwise", "stem", False)


def test_an_attention_layer_by_hand():
    one, two = (network_operators(ArchConfig.mobilevitv2(1.0, attention_layers=(n, 4, 3))) for n in (1, 2))
    added = sum(o.elements for o in two) - sum(o.elements for o in one)
    positions, dim = 32 * 32, 128
    projections = (1 + 2 * dim + dim) + 2 * dim
    feed_forward = 2 * (dim + 2 * dim) + 2 * 2 * dim
    norms_sums_and_gate = (2 + 5 + 3) * dim + 2 + 5 * dim
    assert added == positions * (projections + feed_forward + norms_sums_and_gate)
    four = network_operators(ArchConfig.mobilevitv2(1.0, attention_layers=(4, 4, 3)))
    assert len(four) - len(two) == 2 * (len(two) - len(one)) == 2 * 9
    assert sum(o.elements for o in four) - sum(o.elements for o in two) == 2 * added


def test_other_operators_are_counted_by_element():
    """Stem at 32 pixels: a norm that reads its 16 x 16 x 16 inputs twice, and SiLU over as many."""
    stem = profile(ArchConfig.mobilevitv2(0.25, image_size=32), ClassifierHead(10))[0]
    assert stem.other_ops == 3 * 16 * 16 * 16


def test_an_operator_without_a_handler_is_an_error(monkeypatch):
    class Odd(nn.Module):
        def forward(self, x):
            return torch.erfinv(x)

    monkeypatch.setattr(profile_module, "formulated", lambda *_: Odd())
    with pytest.raises(NotImplementedError, match="no handler counts aten::erfinv"):
        profile(ArchConfig.mobilevitv2(0.25))
