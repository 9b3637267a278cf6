"""The three token mixers against their papers' formulas, and their cost against an independent count."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

import reference
from mvit2_search.arch.cost import MIXER_COSTS
from mvit2_search.models.attention import TOKEN_MIXERS, LinformerAttention

DIM, GRID = 8, (3, 4)


def mixer_and_input(name, grid=GRID, dim=DIM):
    torch.manual_seed(3)
    mixer = TOKEN_MIXERS[name](dim, grid)
    return reference.randomised(mixer), torch.randn(2, 4, grid[0] * grid[1], dim)


def expected(name, mixer, x_BPND):
    weights = {f"m.{key}": value.detach() for key, value in mixer.state_dict().items()}
    tokens = x_BPND.permute(0, 3, 1, 2)
    if name == "separable":
        mixed = reference.separable(tokens, weights, "m")
    elif name == "multi_head":
        mixed = reference.multi_head(tokens, weights, "m")
    else:
        projections = weights["m.project_keys"], weights["m.project_values"]
        mixed = reference.multi_head(tokens, weights, "m", *projections)
    return mixed.permute(0, 2, 3, 1)


@pytest.mark.parametrize("name", TOKEN_MIXERS)
def test_outputs_are_the_papers_formula(name):
    mixer, x = mixer_and_input(name)
    torch.testing.assert_close(mixer(x, GRID).detach(), expected(name, mixer, x))


@pytest.mark.parametrize("name", TOKEN_MIXERS)
def test_attention_stays_within_one_pixel_position(name):
    mixer, x = mixer_and_input(name)
    changed = x.clone()
    changed[:, 2, 3] += 1
    differs = (mixer(x, GRID) - mixer(changed, GRID)).abs().amax(dim=(0, 2, 3)) > 1e-6
    assert differs.tolist() == [False, False, True, False]


@pytest.mark.parametrize("name", TOKEN_MIXERS)
def test_every_patch_sees_every_other(name):
    mixer, x = mixer_and_input(name)
    changed = x.clone()
    changed[:, :, 0] += 1
    assert ((mixer(x, GRID) - mixer(changed, GRID)).abs().amax(dim=(0, 1, 3)) > 1e-6).all()


@pytest.mark.parametrize("name", TOKEN_MIXERS)
@pytest.mark.parametrize("grid", [(1, 1), (7, 7), (20, 20)])  # 400 patches: more than Linformer projects to
def test_costs_are_those_that_torch_counts(name, grid):
    """Separable attention is counted as published, with a key for every token: here one weighted sum and
    one key per pixel position take their place."""
    dim, pixels, patches = 16, 4, grid[0] * grid[1]
    mixer = TOKEN_MIXERS[name](dim, grid)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        mixer(torch.zeros(1, pixels, patches, dim), grid)
    saved = pixels * (dim * dim * (patches - 1) - patches * dim) if name == "separable" else 0
    cost = MIXER_COSTS[name](dim, pixels, patches)
    assert cost.macs == counter.get_total_flops() // 2 + saved
    assert cost.params == sum(p.numel() for p in mixer.parameters())


@pytest.mark.parametrize(("D", "P", "N", "p"), [(16, 4, 49, 49), (8, 1, 400, 256)])
def test_costs_are_those_of_the_closed_formulas(D, P, N, p):
    assert MIXER_COSTS["separable"](D, P, N).macs == P * N * D * (3 * D + 1)
    assert MIXER_COSTS["multi_head"](D, P, N).macs == P * N * (4 * D**2 + 2 * N * D)
    assert MIXER_COSTS["linformer"](D, P, N).macs == P * N * (4 * D**2 + 4 * p * D)


def test_linformer_projects_to_256_tokens_or_to_all():
    assert LinformerAttention(8, (20, 20)).project_keys.shape == (256, 400)
    assert LinformerAttention(8, (4, 4)).project_keys.shape == (16, 16)


def test_linformer_that_projects_to_the_tokens_themselves_is_multi_head_attention():
    linformer, x = mixer_and_input("linformer")
    plain = TOKEN_MIXERS["multi_head"](DIM, GRID)
    plain.load_state_dict({k: v for k, v in linformer.state_dict().items() if "project" not in k})
    for projection in (linformer.project_keys, linformer.project_values):
        torch.nn.init.eye_(projection)
    torch.testing.assert_close(linformer(x, GRID), plain(x, GRID))


@pytest.mark.parametrize("grid", [(3, 3), (5, 7), (32, 32)])  # 3 x 3: a proxy at 48 pixels
def test_linformer_stretches_the_tokens_of_another_grid_over_its_own(grid):
    torch.manual_seed(1)
    linformer, tokens = LinformerAttention(8, (16, 16)), torch.randn(1, 8, *grid)
    stretched = F.interpolate(tokens, size=(16, 16), mode="bilinear").flatten(2)
    expected = torch.einsum("mn,bdn->bdm", linformer.project_keys, stretched)
    projection = linformer._over(grid, linformer.project_keys)
    torch.testing.assert_close(torch.einsum("mn,bdn->bdm", projection, tokens.flatten(2)), expected)
    torch.testing.assert_close(projection.sum(1), linformer.project_keys.sum(1), atol=1e-5, rtol=1e-4)


def test_heads_divide_the_channels_in_order():
    """Moving the second quarter of the queries' weights changes the second head alone."""
    mixer, x = mixer_and_input("multi_head")
    with torch.no_grad():
        mixer.out.weight.copy_(torch.eye(DIM))
        before = mixer(x, GRID)
        mixer.qkv.weight[2:4] += 1
        moved = (mixer(x, GRID) - before).abs().amax(dim=(0, 1, 2)) > 1e-6
    assert moved.tolist() == [False, False, True, True, False, False, False, False]


def test_scores_are_scaled_by_the_width_of_a_head():
    mixer, x = mixer_and_input("multi_head")
    query, key, value = mixer.qkv(x).reshape(2, 4, 12, 3, 4, 2).permute(3, 0, 1, 4, 2, 5)
    mixed = F.scaled_dot_product_attention(query, key, value).permute(0, 1, 3, 2, 4).reshape(x.shape)
    torch.testing.assert_close(mixer(x, GRID), mixer.out(mixed))
