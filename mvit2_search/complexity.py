"""What a network costs, by formula: parameters and multiply-adds of one image. Needs no torch.

Multiply-adds count convolutions, linear layers and matrix products, as the papers do; norms,
activations and element-wise products are left out. `models.profile` counts the built network instead.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from mvit2_search.arch import ATTENTION_STAGES, STAGES, ArchConfig


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
    """`("stem", Cost)`, `("stage1", Cost)` to `("stage5", Cost)`, `("classifier", Cost)`."""
    side = _halved(arch.image_size)
    yield "stem", _conv(3, arch.stem_channels, side**2, kernel=3)
    for i in range(STAGES):
        cost, side = _stage(arch, i, side)
        yield f"stage{i + 1}", cost
    inputs = arch.stage_channels[-1]
    yield "classifier", Cost((inputs + 1) * num_classes, inputs * num_classes)


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
        patch = arch.patch_sizes[i - 2]
        side = -(-side // patch) * patch
        cost += _block(arch, i - 2, outputs, kernel, side**2)
    return cost, side


def _block(arch: ArchConfig, b: int, channels: int, kernel: int, positions: int) -> Cost:
    dim, ffn_dim = arch.attention_dims[b], arch.ffn_dims[b]
    layer = _MIXERS[arch.attention[b]](dim, positions) + Cost(params=2 * 2 * dim)  # two norms
    layer += _pointwise(dim, ffn_dim, positions) + _pointwise(ffn_dim, dim, positions)
    local = _conv(channels, channels, positions, kernel=kernel, groups=channels)
    to_tokens, norm = Cost(channels * dim, channels * dim * positions), Cost(params=2 * dim)
    return local + to_tokens + layer * arch.attention_layers[b] + norm + _conv(dim, channels, positions)


def _separable(dim: int, positions: int) -> Cost:
    """Separable self-attention: its two projections, `positions * dim * (3 * dim + 1)` multiply-adds."""
    return _pointwise(dim, 1 + 2 * dim, positions) + _pointwise(dim, dim, positions)


_MIXERS = {"separable": _separable}


def _conv(inputs: int, outputs: int, positions: int, *, kernel: int = 1, groups: int = 1) -> Cost:
    """Convolution without bias, batch normalisation behind it."""
    weights = kernel**2 * inputs // groups * outputs
    return Cost(weights + 2 * outputs, weights * positions)


def _pointwise(inputs: int, outputs: int, positions: int) -> Cost:
    """1x1 convolution with bias."""
    return Cost((inputs + 1) * outputs, inputs * outputs * positions)


def _halved(side: int) -> int:
    return -(-side // 2)
