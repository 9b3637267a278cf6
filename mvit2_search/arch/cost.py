"""What a network costs, by formula: parameters and multiply-adds of one image. Needs no torch.

Multiply-adds count convolutions, linear layers and matrix products, as the papers do; norms,
activations and element-wise products are left out. They are those of the network as published: a
formulation that needs fewer is not credited. `models.profile` counts the built network instead.

Letters of the formulas: D token width, P pixels of a patch, N patches, p projected tokens.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from mvit2_search.arch.config import ATTENTION_STAGES, LINFORMER_TOKENS, STAGES, ArchConfig


@dataclass(frozen=True, slots=True)
class Cost:
    """Parameters and multiply-adds; costs add up."""

    params: int = 0
    macs: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.params + other.params, self.macs + other.macs)

    def __mul__(self, times: int) -> "Cost":
        return Cost(self.params * times, self.macs * times)


def network_cost(arch: ArchConfig, num_classes: int = 1000) -> Cost:
    """The whole network at batch 1 and `arch.image_size`."""
    return sum(dict(stage_costs(arch, num_classes)).values(), Cost())


def stage_costs(arch: ArchConfig, num_classes: int = 1000) -> Iterator[tuple[str, Cost]]:
    """`("stem", Cost)`, `("stage1", Cost)` to `("stage5", Cost)` and `("classifier", Cost)`.

    The classifier's includes the convolution before the pooling.
    """
    side = _halved(arch.image_size)
    yield "stem", _conv(3, arch.stem_channels, side**2, kernel=3)
    for i in range(STAGES):
        cost, side = _stage(arch, i, side)
        yield f"stage{i + 1}", cost
    inputs = arch.stage_channels[-1]
    final = Cost()
    if arch.final_channels:
        inputs, final = arch.final_channels, _conv(inputs, arch.final_channels, side**2)
    yield "classifier", final + Cost((inputs + 1) * num_classes, inputs * num_classes)


def _stage(arch: ArchConfig, i: int, side: int) -> tuple[Cost, int]:
    """Cost of stage i (from 0) on a map of `side` by `side`, and the side of its output."""
    inputs = arch.stage_channels[i - 1] if i else arch.stem_channels
    outputs, kernel = arch.stage_channels[i], arch.kernel_sizes[i]
    cost = Cost()
    for j, hidden in enumerate(arch.expanded_channels[i]):
        after = _halved(side) if i > 0 and j == 0 else side
        cost += _conv(outputs if j else inputs, hidden, side**2)
        cost += _conv(hidden, hidden, after**2, kernel=kernel, groups=hidden) + _conv(hidden, outputs, after**2)
        side = after
    if i + 1 in ATTENTION_STAGES and arch.attention_layers[i - 2]:
        cost, side = _with_block(arch, i - 2, cost, side)
    return cost, side


def _with_block(arch: ArchConfig, b: int, cost: Cost, side: int) -> tuple[Cost, int]:
    """`cost` with that of the MobileViT block on a map of `side`, and the side of the block's output."""
    layers = _encoder_layer(arch, b) * arch.attention_layers[b]
    cost += layers + Cost(params=2 * arch.attention_dims[b])  # the norm behind them
    if arch.family == "mobilevitv1":
        return cost + _v1_convolutions(arch, b, side**2), side
    stretched = arch.patch_rows[b] * arch.patch_sizes[b]
    return cost + _v2_convolutions(arch, b, stretched**2), stretched


def _v2_convolutions(arch: ArchConfig, b: int, positions: int) -> Cost:
    channels, dim, kernel = arch.stage_channels[b + 2], arch.attention_dims[b], arch.kernel_sizes[b + 2]
    local = _conv(channels, channels, positions, kernel=kernel, groups=channels)
    return local + Cost(channels * dim, channels * dim * positions) + _conv(dim, channels, positions)


def _v1_convolutions(arch: ArchConfig, b: int, positions: int) -> Cost:
    """Only the encoder layers see the stretched map."""
    channels, dim, kernel = arch.stage_channels[b + 2], arch.attention_dims[b], arch.kernel_sizes[b + 2]
    local = _conv(channels, channels, positions, kernel=kernel)
    fuse = _conv(2 * channels, channels, positions, kernel=kernel)
    return local + Cost(channels * dim, channels * dim * positions) + _conv(dim, channels, positions) + fuse


def _encoder_layer(arch: ArchConfig, b: int) -> Cost:
    dim, ffn_dim = arch.attention_dims[b], arch.ffn_dims[b]
    pixels, patches = arch.patch_sizes[b] ** 2, arch.patch_rows[b] ** 2
    ffn = _pointwise(dim, ffn_dim, pixels * patches) + _pointwise(ffn_dim, dim, pixels * patches)
    return MIXER_COSTS[arch.attention[b]](dim, pixels, patches) + ffn + Cost(params=2 * 2 * dim)  # two norms


def separable_cost(dim: int, pixels: int, patches: int) -> Cost:
    """Separable self-attention, linear in N: its two projections, `P N D (3 D + 1)` multiply-adds."""
    positions = pixels * patches
    return _pointwise(dim, 1 + 2 * dim, positions) + _pointwise(dim, dim, positions)


def multi_head_cost(dim: int, pixels: int, patches: int) -> Cost:
    """Multi-head attention: projections and two products of N x N, `P N (4 D**2 + 2 N D)`."""
    return _projections(dim, pixels * patches) + Cost(macs=2 * pixels * patches**2 * dim)


def linformer_cost(dim: int, pixels: int, patches: int) -> Cost:
    """Linformer with p = min(256, N): `P N (4 D**2 + 4 p D)`; half of `4 p D` projects keys and values."""
    projected = min(LINFORMER_TOKENS, patches)
    mixing = Cost(2 * projected * patches, 4 * pixels * patches * projected * dim)
    return _projections(dim, pixels * patches) + mixing


def _projections(dim: int, positions: int) -> Cost:
    """To queries, keys and values, and from the heads."""
    return _pointwise(dim, 3 * dim, positions) + _pointwise(dim, dim, positions)


MIXER_COSTS = {"separable": separable_cost, "multi_head": multi_head_cost, "linformer": linformer_cost}


def _conv(inputs: int, outputs: int, positions: int, *, kernel: int = 1, groups: int = 1) -> Cost:
    """Convolution without bias, batch normalisation behind it."""
    weights = kernel**2 * inputs // groups * outputs
    return Cost(weights + 2 * outputs, weights * positions)


def _pointwise(inputs: int, outputs: int, positions: int) -> Cost:
    """1x1 convolution with bias."""
    return Cost((inputs + 1) * outputs, inputs * outputs * positions)


def _halved(side: int) -> int:
    return -(-side // 2)
