"""Slices of a network: against networks written out by hand, alone, in training, sorted, grown and refused."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.func import functional_call

from mvit2_search.arch import ArchConfig, published_networks
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.errors import SpecError
from mvit2_search.models import build_model
from mvit2_search.models.groups import group_sizes, skeleton
from mvit2_search.models.grow import grown
from mvit2_search.models.importance import group_sums, l1_order, taylor_order
from mvit2_search.models.slices import check_slice, covering, extract, sliced, slicing_table

HEAD = ClassifierHead(3)
LARGE = ArchConfig(
    stem_channels=6,
    stage_channels=(10, 12, 14, 16, 18),
    expanded_channels=((8, 20), (12, 16), (10, 14), (18, 12), (22,)),
    attention_dims=(8, 12, 10),
    attention_layers=(2, 3, 1),
    ffn_dims=(12, 10, 14),
    kernel_sizes=(5, 5, 5, 3, 5),
    image_size=64,
)
SMALL = ArchConfig(
    stem_channels=4,
    stage_channels=(7, 12, 9, 11, 13),
    expanded_channels=((6,), (12, 9), (8,), (15, 12), (17,)),
    attention_dims=(6, 12, 7),
    attention_layers=(1, 2, 1),
    ffn_dims=(9, 10, 11),
    kernel_sizes=(3, 5, 3, 3, 3),
    image_size=64,
)


def a_network(arch, seed=0):
    """In evaluation mode, with statistics and biases as after a training."""
    torch.manual_seed(seed)
    model = build_model(arch, HEAD)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
            tensor.uniform_(0.5, 1.5)
        elif tensor.ndim == 1:
            tensor.normal_(std=0.3)
        elif tensor.ndim:
            tensor.mul_(2)
        else:
            tensor.fill_(7)
    return model.eval()


@pytest.fixture(scope="module")
def large():
    return a_network(LARGE)


def an_order(seed=3):
    """All groups that may be cut, shuffled."""
    generator = torch.Generator().manual_seed(seed)
    sizes = group_sizes(LARGE, HEAD)
    return {
        group: torch.randperm(size, generator=generator)
        for group, size in sizes.items()
        if group not in ("colours", "score", "classes")
    }


def images(seed=5, count=2):
    return torch.rand(count, 3, 48, 48, generator=torch.Generator().manual_seed(seed))


def difference(one, other, x=None):
    x = images() if x is None else x
    with torch.no_grad():
        return (one(x) - other(x)).abs().max().item()


def silenced(model, candidate):
    """The largest network, made to compute a slice by zeros alone.

    Channels that are cut give zero to all that read them. Written without the slicing table: by modules.
    """
    model = a_network(LARGE)

    def cut_inputs(layer, count):
        layer.weight.data[:, count:] = 0

    def centre(convolution, kernel):
        margin = (convolution.kernel_size[0] - kernel) // 2
        if margin:
            inner = convolution.weight.data[..., margin:-margin, margin:-margin].clone()
            convolution.weight.data.zero_()
            convolution.weight.data[..., margin:-margin, margin:-margin] = inner

    before = candidate.stem_channels
    for s, stage in enumerate(model.stages):
        blocks, kernel = candidate.expanded_channels[s], candidate.kernel_sizes[s]
        channels = candidate.stage_channels[s]
        residuals = [block for block in stage if hasattr(block, "expand")]
        for k, block in enumerate(residuals):
            if k >= len(blocks):
                block.project[1].weight.data.zero_()
                block.project[1].bias.data.zero_()
                continue
            cut_inputs(block.expand[0], channels if k else before)
            cut_inputs(block.project[0], blocks[k])
            centre(block.depthwise[0], kernel)
        before = channels
        if s >= 2:
            block = stage[-1]
            cut_inputs(block.to_tokens, channels)
            centre(block.local[0], kernel)
            layers = block.encoder.layers
            for layer in layers[candidate.attention_layers[s - 2] :]:
                for end in (layer.mixer.out, layer.ffn[2]):
                    end.weight.data.zero_()
                    end.bias.data.zero_()
            for layer in layers:
                cut_inputs(layer.ffn[2], candidate.ffn_dims[s - 2])
    cut_inputs(model.classifier.linear, before)
    return model


SAME_TOKENS = replace(SMALL, attention_dims=LARGE.attention_dims)


def test_a_slice_computes_what_the_largest_network_does_when_all_else_is_silent(large):
    """With all tokens: fewer change their norm, which the next test is for."""
    alone = extract(large.state_dict(), LARGE, SAME_TOKENS, HEAD)
    assert difference(alone, silenced(large, SAME_TOKENS)) < 1e-5
    assert difference(alone, large) > 1e-2


def test_tokens_keys_values_and_scores_are_the_first_rows_and_columns_of_their_layer(large):
    alone = extract(large.state_dict(), LARGE, SMALL, HEAD)
    theirs, ours = (network.stages[2][-1].encoder.layers[0] for network in (large, alone))
    dim, all_of_them = SMALL.attention_dims[0], LARGE.attention_dims[0]
    for start, count, own in ((0, 1, 0), (1, dim, 1), (1 + all_of_them, dim, 1 + dim)):
        part = theirs.mixer.qkv.weight[start : start + count, :dim]
        assert torch.equal(ours.mixer.qkv.weight[own : own + count], part)
        assert torch.equal(ours.mixer.qkv.bias[own : own + count], theirs.mixer.qkv.bias[start : start + count])
    assert torch.equal(ours.mixer.out.weight, theirs.mixer.out.weight[:dim, :dim])
    assert torch.equal(ours.norm1.weight, theirs.norm1.weight[:dim])
    assert torch.equal(ours.ffn[0].weight, theirs.ffn[0].weight[: SMALL.ffn_dims[0], :dim])
    assert torch.equal(alone.stages[2][-1].encoder.norm.bias, large.stages[2][-1].encoder.norm.bias[:dim])


@pytest.mark.parametrize("order", [None, an_order()], ids=["as they are", "sorted"])
def test_a_network_of_its_own_gives_what_the_slice_gives(large, order):
    slices = sliced(large.state_dict(), LARGE, SMALL, HEAD, order)
    alone = extract(large.state_dict(), LARGE, SMALL, HEAD, order)
    built = build_model(SMALL, HEAD).eval()
    built.load_state_dict(slices)
    frame = skeleton(SMALL, HEAD).eval()
    assert difference(lambda x: functional_call(frame, slices, x), built) <= 1e-6
    assert difference(alone, built) <= 1e-6
    assert alone.stages[0][0].expand[0].weight.requires_grad


def test_a_network_is_the_same_in_any_order_and_its_slices_are_the_first_channels_then(large):
    order = an_order()
    ordered = sliced(large.state_dict(), LARGE, LARGE, HEAD, order)
    assert difference(extract(ordered, LARGE, LARGE, HEAD), large) < 1e-5
    direct = extract(large.state_dict(), LARGE, SMALL, HEAD, order)
    assert difference(extract(ordered, LARGE, SMALL, HEAD), direct) == 0
    assert difference(extract(large.state_dict(), LARGE, SMALL, HEAD), direct) > 1e-2


def test_every_tensor_of_a_slice_has_the_shape_that_its_network_asks_for(large):
    for candidate in (SMALL, LARGE, SAME_TOKENS):
        slices = sliced(large.state_dict(), LARGE, candidate, HEAD, an_order())
        wanted = {name: tensor.shape for name, tensor in build_model(candidate, HEAD).state_dict().items()}
        assert {name: tensor.shape for name, tensor in slices.items()} == wanted


def test_published_widths_are_slices_of_the_widest():
    widths = [arch for name, arch in published_networks().items() if name.startswith("mobilevitv2")]
    for width in widths:
        assert (
            slicing_table(covering(*widths), width, HEAD, {}).keys() == skeleton(width, HEAD).state_dict().keys()
        )
    assert covering(*widths) == widths[-1]


def test_gradients_of_a_slice_reach_the_weights_that_it_takes_and_no_others(large):
    weights = {name: tensor.detach().clone() for name, tensor in large.named_parameters()}
    for tensor in weights.values():
        tensor.requires_grad_()
    slices = sliced(weights, LARGE, SMALL, HEAD) | dict(
        extract(large.state_dict(), LARGE, SMALL, HEAD).named_buffers()
    )
    functional_call(skeleton(SMALL, HEAD).eval(), slices, images()).square().sum().backward()
    alone = extract(large.state_dict(), LARGE, SMALL, HEAD)
    alone(images()).square().sum().backward()
    for name, cut in slicing_table(LARGE, SMALL, HEAD, {}).items():
        if cut.source in weights:
            gradient = weights[cut.source].grad
            own = alone.get_parameter(name).grad
            assert torch.allclose(cut.of(gradient), own, atol=1e-5, rtol=1e-4), name
            assert gradient.abs().sum().item() == pytest.approx(own.abs().sum().item(), rel=1e-3), name
    assert weights["stages.2.1.expand.0.weight"].grad is None  # the second inverted residual is left out


def test_drawing_and_slicing_leave_the_random_state_alone(large):
    before = torch.get_rng_state()
    extract(large.state_dict(), LARGE, SMALL, HEAD)
    grown(a_network(SAME_TOKENS).state_dict(), SAME_TOKENS, LARGE, HEAD, seed=0)
    a_network(SAME_TOKENS)
    torch.set_rng_state(before)
    extract(large.state_dict(), LARGE, SMALL, HEAD)
    grown(large.state_dict(), LARGE, LARGE, HEAD, seed=0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("candidate", "named"),
    [
        (
            replace(SMALL, attention=("separable", "multi_head", "separable"), attention_dims=(6, 12, 7)),
            "multi_head",
        ),
        (replace(SMALL, attention_layers=(0, 2, 1)), "attention_layers"),
        (replace(SMALL, stage_channels=(4, 12, 9, 11, 13)), "residual"),
        (replace(SMALL, ffn_dims=(13, 10, 11)), "`ffn_dims` 13"),
        (replace(SMALL, expanded_channels=((6,), (12, 9), (8,), (15, 12), (17, 17))), "`expanded_channels` 17"),
        (replace(SMALL, kernel_sizes=(3, 5, 3, 5, 3)), "`kernel_sizes` 5"),
        (replace(SMALL, final_channels=8), "final_channels"),
        (published_networks()["mobilevitv1-xxs"], "mobilevitv1"),
    ],
)
def test_what_is_no_slice_is_refused_with_the_reason(candidate, named):
    with pytest.raises(SpecError, match=named):
        check_slice(LARGE, candidate)


def test_without_attention_on_both_sides_a_stage_is_cut(large):
    most, least = (replace(arch, attention_layers=(2, 0, 1)) for arch in (LARGE, SMALL))
    network = a_network(most)
    alone = extract(network.state_dict(), most, least, HEAD)
    assert alone(images()).isfinite().all()
    assert difference(extract(network.state_dict(), most, most, HEAD), network) == 0


def test_the_smallest_network_that_covers_others_has_the_largest_of_each_number():
    one, other = ArchConfig.mobilevitv2(0.5, kernel_size=5), ArchConfig.mobilevitv2(0.75, inverted_residuals=2)
    both = covering(one, other)
    for arch in (one, other):
        check_slice(both, arch)
    assert both == replace(other, kernel_sizes=(5,) * 5)
    assert covering(SMALL, LARGE) == LARGE


def test_the_weights_that_read_a_channel_say_how_much_it_matters_where_there_are_no_data(large):
    weights = large.state_dict()
    order = l1_order(weights, LARGE, HEAD)
    read = weights["stages.1.1.project.0.weight"].abs().sum((0, 2, 3))
    assert order["stages.1.1.hidden"].tolist() == read.argsort(descending=True).tolist()
    layer = weights["stages.3.2.encoder.layers.1.mixer.out.weight"].abs().sum(0)
    assert order["stages.3.layers.1.context"].tolist() == layer.argsort(descending=True).tolist()
    ties = sum(weights[f"stages.1.{name}"].abs().sum((0, 2, 3)) for name in ("1.expand.0.weight",))
    ties = ties + weights["stages.2.0.expand.0.weight"].abs().sum((0, 2, 3))
    assert order["stages.1.out"].tolist() == ties.argsort(descending=True).tolist()
    assert order.keys() == an_order().keys()


def test_what_a_channel_of_a_group_costs_the_loss_is_summed_over_all_its_weights(large):
    gradients = {name: torch.ones_like(tensor) for name, tensor in large.named_parameters()}
    sums = group_sums({name: gradient.abs() for name, gradient in gradients.items()}, LARGE, HEAD)
    dim, ffn_dim = LARGE.attention_dims[2], LARGE.ffn_dims[2]
    # a key row and its bias, a value row and its bias, a column of what reads their product
    assert sums["stages.4.layers.0.context"].tolist() == [2 * (dim + 1) + dim] * dim
    assert sums["stages.4.layers.0.ffn"].tolist() == [dim + 1 + dim] * ffn_dim
    hidden = LARGE.stage_channels[3] + 2 + 25 + 2 + LARGE.stage_channels[4]
    assert sums["stages.4.0.hidden"].tolist() == [hidden] * 22
    order = taylor_order(large.state_dict(), [gradients, gradients], LARGE, HEAD)
    weighed = group_sums({k: v.abs() for k, v in large.named_parameters()}, LARGE, HEAD)
    assert order["stem"].tolist() == weighed["stem"].argsort(descending=True).tolist()


def test_a_grown_network_computes_the_same_and_has_it_as_a_slice():
    small = a_network(SAME_TOKENS)
    weights = grown(small.state_dict(), SAME_TOKENS, LARGE, HEAD, seed=1)
    large = build_model(LARGE, HEAD).eval()
    large.load_state_dict(weights)
    assert difference(large, small) < 1e-5
    assert difference(extract(weights, LARGE, SAME_TOKENS, HEAD), small) == 0
    x_BPND = torch.randn(2, 4, 9, LARGE.attention_dims[0])
    assert torch.equal(large.stages[2][-1].encoder.layers[1](x_BPND, (3, 3)), x_BPND), "a new layer adds nothing"
    order = l1_order(weights, LARGE, HEAD)
    assert difference(extract(weights, LARGE, SAME_TOKENS, HEAD, order), small) < 1e-5, "new channels come last"


def test_what_is_new_in_a_grown_network_learns():
    weights = grown(a_network(SAME_TOKENS).state_dict(), SAME_TOKENS, LARGE, HEAD, seed=1)
    large = build_model(LARGE, HEAD)
    large.load_state_dict(weights)
    optimizer = torch.optim.SGD(large.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(large(images(count=8)), torch.arange(8) % 3).backward()
        optimizer.step()
    for name, tensor in large.named_parameters():  # some biases are normalised away afterwards
        assert tensor.ndim == 1 or not torch.equal(tensor, weights[name]), name
    assert large.stages[1][0].expand[0].weight.grad.abs().min() > 0
    ends = large.stages[2][-1].encoder.layers[1].mixer.out.weight
    assert ends.abs().min() > 0


def test_wider_tokens_are_refused_as_they_would_change_the_network():
    with pytest.raises(SpecError, match="`attention_dims` 8 in stage 3"):
        grown(a_network(SMALL).state_dict(), SMALL, LARGE, HEAD, seed=0)


def test_a_grown_network_may_have_a_head_of_its_own():
    weights = {k: v for k, v in a_network(SAME_TOKENS).state_dict().items() if not k.startswith("classifier")}
    found = grown(weights, SAME_TOKENS, LARGE, ClassifierHead(5), seed=1)
    assert found["classifier.linear.weight"].shape == (5, 18)
    known = SAME_TOKENS.stage_channels[-1]
    assert found["classifier.linear.weight"][:, :known].abs().min() > 0
    assert not found["classifier.linear.weight"][:, known:].any()
