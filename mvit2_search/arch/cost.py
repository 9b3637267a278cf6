"""What a network costs, by formula: parameters, multiply-adds and elements moved. Needs no torch.

Every number is a sum over one list, `network_operators`. Multiply-adds count convolutions, linear layers and
matrix products, as the papers do. Norms, activations and sums count as elements moved only: devices wait for
memory as well as for arithmetic. The network is counted as published: a formulation that needs fewer multiply-adds
is not credited. `models.profile` counts the built network instead.

Letters in the formulas: D token width, P pixels of a patch, N patches, p projected tokens.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, NamedTuple, get_args

from mvit2_search.arch.config import ATTENTION_STAGES, LINFORMER_TOKENS, STAGES, ArchConfig, Attention
from mvit2_search.arch.head import IMAGENET, Head

Kind = Literal["dense", "pointwise", "depthwise", "token", "product", "elementwise"]
KINDS: tuple[Kind, ...] = get_args(Kind)
BLOCKS = ("stem", *(f"stage{i + 1}" for i in range(STAGES)), "classifier")


class Operator(NamedTuple):
    """One operator at batch 1.

    Attributes:
        block: one of `BLOCKS`. The classifier's includes the convolution before the pooling.
        kind: `dense` and `depthwise` convolutions span several positions, `pointwise` ones a single position;
            `token` is a linear layer of an encoder, `product` a matrix product, and `elementwise` everything
            without multiply-adds by the papers' count.
        params: of a convolution, with those of the batch normalisation that folds into it.
        macs: multiply-adds.
        elements: activations read and written.
        encoder: whether it belongs to the attention layers of a MobileViT block.
    """

    block: str
    kind: Kind
    params: int
    macs: int
    elements: int
    encoder: bool


@dataclass(frozen=True, slots=True)
class Cost:
    """Parameters and multiply-adds."""

    params: int
    macs: int


def network_cost(arch: ArchConfig, head: Head = IMAGENET) -> Cost:
    """The whole network at batch 1 and `arch.image_size`."""
    return _total(network_operators(arch, head))


def network_operators(arch: ArchConfig, head: Head = IMAGENET) -> list[Operator]:
    """Every operator of the network, in the order of execution."""
    walk = _Walk(block="stem", side=arch.image_size)
    walk.conv(3, arch.stem_channels, kernel=3, stride=2)
    for i in range(STAGES):
        walk.block = BLOCKS[i + 1]
        _inverted_residuals(walk, arch, i)
        if i + 1 in ATTENTION_STAGES and arch.attention_layers[i - 2]:
            _mobilevit_block(walk, arch, i - 2)
    walk.block = BLOCKS[-1]
    inputs = arch.stage_channels[-1]
    if arch.final_channels:
        walk.conv(inputs, arch.final_channels)
        inputs = arch.final_channels
    walk.elementwise(inputs * (walk.side**2 + 1))  # pooling
    walk.add("pointwise", (inputs + 1) * head.classes, inputs * head.classes, inputs + head.classes)
    return walk.operators


def _total(operators: Iterable[Operator]) -> Cost:
    params = macs = 0
    for operator in operators:
        params += operator.params
        macs += operator.macs
    return Cost(params, macs)


@dataclass(slots=True)
class _Walk:
    """A walk through the network: the operators so far, and the block and side of the map that it has reached."""

    block: str
    side: int
    encoder: bool = False
    operators: list[Operator] = field(default_factory=list)

    def add(self, kind: Kind, params: int, macs: int, elements: int) -> None:
        self.operators.append(Operator(self.block, kind, params, macs, elements, self.encoder))

    def elementwise(self, elements: int, *, params: int = 0) -> None:
        self.add("elementwise", params, 0, elements)

    def conv(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        depthwise: bool = False,
        norm: bool = True,
        act: bool = True,
    ) -> None:
        """A convolution without bias. Batch normalisation folds into it and moves nothing; an activation does."""
        before, self.side = self.side**2, -(-self.side // stride)
        after = self.side**2
        kind: Kind = "depthwise" if depthwise else "dense" if kernel > 1 else "pointwise"
        weights = kernel**2 * (1 if depthwise else inputs) * outputs
        params = weights + 2 * outputs if norm else weights
        self.add(kind, params, weights * after, inputs * before + outputs * after)
        if act:
            self.elementwise(2 * outputs * after)

    def token(self, inputs: int, outputs: int, positions: int) -> None:
        """A linear layer with bias."""
        self.add("token", (inputs + 1) * outputs, inputs * outputs * positions, (inputs + outputs) * positions)


def _inverted_residuals(walk: _Walk, arch: ArchConfig, i: int) -> None:
    inputs = arch.stage_channels[i - 1] if i else arch.stem_channels
    outputs, kernel = arch.stage_channels[i], arch.kernel_sizes[i]
    for j, hidden in enumerate(arch.expanded_channels[i]):
        stride = 2 if i and not j else 1
        walk.conv(inputs, hidden)
        walk.conv(hidden, hidden, kernel=kernel, stride=stride, depthwise=True)
        walk.conv(hidden, outputs, act=False)
        if stride == 1 and inputs == outputs:
            walk.elementwise(3 * outputs * walk.side**2)  # residual
        inputs = outputs


def _mobilevit_block(walk: _Walk, arch: ArchConfig, b: int) -> None:
    channels, dim, kernel = arch.stage_channels[b + 2], arch.attention_dims[b], arch.kernel_sizes[b + 2]
    first = arch.family == "mobilevitv1"
    if not first:
        walk.side = arch.patch_rows[b] * arch.patch_sizes[b]  # the first version stretches for the encoder alone
    walk.conv(channels, channels, kernel=kernel, depthwise=not first)
    walk.conv(channels, dim, norm=False, act=False)
    walk.encoder = True
    _encoder(walk, arch, b)
    walk.encoder = False
    walk.conv(dim, channels, act=first)
    if first:
        walk.conv(2 * channels, channels, kernel=kernel)


def _encoder(walk: _Walk, arch: ArchConfig, b: int) -> None:
    dim, ffn_dim = arch.attention_dims[b], arch.ffn_dims[b]
    pixels, patches = arch.patch_sizes[b] ** 2, arch.patch_rows[b] ** 2
    positions = pixels * patches
    walk.elementwise(4 * dim * positions)  # unfold into patches, fold back
    start = len(walk.operators)
    walk.elementwise(2 * dim * positions, params=2 * dim)  # norm
    _MIXERS[arch.attention[b]](walk, dim, pixels, patches)
    walk.elementwise(5 * dim * positions, params=2 * dim)  # residual, norm
    walk.token(dim, ffn_dim, positions)
    walk.elementwise(2 * ffn_dim * positions)  # activation
    walk.token(ffn_dim, dim, positions)
    walk.elementwise(3 * dim * positions)  # residual
    walk.operators += walk.operators[start:] * (arch.attention_layers[b] - 1)  # all layers are alike
    walk.elementwise(2 * dim * positions, params=2 * dim)  # norm


def _separable(walk: _Walk, dim: int, pixels: int, patches: int) -> None:
    """Separable self-attention, linear in N: its two projections, `P N D (3 D + 1)` multiply-adds."""
    positions = pixels * patches
    walk.token(dim, 1 + 2 * dim, positions)
    walk.elementwise((2 + 5 * dim) * positions)  # softmax, weighted sum, gate
    walk.token(dim, dim, positions)


def _multi_head(walk: _Walk, dim: int, pixels: int, patches: int) -> None:
    """Multi-head attention: projections and two products of N x N, `P N (4 D**2 + 2 N D)` multiply-adds."""
    walk.token(dim, 3 * dim, pixels * patches)
    _attend(walk, dim, pixels, patches, keys=patches)
    walk.token(dim, dim, pixels * patches)


def _linformer(walk: _Walk, dim: int, pixels: int, patches: int) -> None:
    """Linformer with p = min(256, N): `P N (4 D**2 + 4 p D)`; half of `4 p D` projects keys and values."""
    projected = min(LINFORMER_TOKENS, patches)
    weights = 2 * projected * patches
    walk.token(dim, 3 * dim, pixels * patches)
    walk.add("product", weights, weights * pixels * dim, 2 * pixels * (patches + projected) * dim)
    _attend(walk, dim, pixels, patches, keys=projected)
    walk.token(dim, dim, pixels * patches)


def _attend(walk: _Walk, dim: int, pixels: int, patches: int, *, keys: int) -> None:
    """Scores of every token for `keys` keys, their softmax, and the weighted sums of the values."""
    scores = pixels * patches * keys
    walk.add("product", 0, 2 * scores * dim, 2 * pixels * (patches + keys) * dim + 2 * scores)
    walk.elementwise(2 * scores)  # softmax


_Mixer = Callable[[_Walk, int, int, int], None]
_MIXERS: dict[Attention, _Mixer] = {"separable": _separable, "multi_head": _multi_head, "linformer": _linformer}


def _mixer_cost(mixer: _Mixer, dim: int, pixels: int, patches: int) -> Cost:
    walk = _Walk(block="", side=0)
    mixer(walk, dim, pixels, patches)
    return _total(walk.operators)


# the cost of one token mixer alone, by name, from D, P and N
MIXER_COSTS = {name: partial(_mixer_cost, mixer) for name, mixer in _MIXERS.items()}
