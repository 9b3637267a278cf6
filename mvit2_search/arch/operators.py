"""What a device executes of a network: its operators, the work each does and the numbers each moves.

The multiply-adds are those of `complexity`, split by operator. What those leave out (norms, activations, sums) is
here as elements moved: devices wait for memory as well as for arithmetic.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

from mvit2_search.arch.config import ATTENTION_STAGES, LINFORMER_TOKENS, STAGES, ArchConfig, Attention

Kind = Literal["dense", "pointwise", "depthwise", "token", "product", "elementwise"]
KINDS: tuple[Kind, ...] = get_args(Kind)
BLOCKS = ("stem", *(f"stage{i + 1}" for i in range(STAGES)), "classifier")


class Operator(NamedTuple):
    """One operator at batch 1.

    Attributes:
        block: one of `BLOCKS`.
        kind: `dense` and `depthwise` convolutions span several positions, `pointwise` ones a single position;
            `token` are those of encoder layers, `product` multiplies two activations, and `elementwise` is what
            does no multiply-adds by the papers' count.
        elements: activations read and written.
        encoder: whether it belongs to the attention layers of a MobileViT block.
    """

    block: str
    kind: Kind
    macs: int
    elements: int
    encoder: bool


def network_operators(arch: ArchConfig, num_classes: int = 1000) -> list[Operator]:
    """Every operator of the network, in the order of execution."""
    trace = _Trace(side=arch.image_size, block="stem")
    trace.conv(3, arch.stem_channels, kernel=3, stride=2)
    for i in range(STAGES):
        trace.block = BLOCKS[i + 1]
        _inverted_residuals(trace, arch, i)
        if i + 1 in ATTENTION_STAGES and arch.attention_layers[i - 2]:
            _mobilevit_block(trace, arch, i - 2)
    trace.block = "classifier"
    inputs = arch.stage_channels[-1]
    if arch.final_channels:
        trace.conv(inputs, arch.final_channels)
        inputs = arch.final_channels
    trace.elementwise(inputs * (trace.side**2 + 1))  # the pooling
    trace.add("pointwise", inputs * num_classes, inputs + num_classes)
    return trace.operators


@dataclass
class _Trace:
    """Operators so far, and where the network stands: in `block`, on a map of `side` by `side`."""

    side: int
    block: str
    encoder: bool = False
    operators: list[Operator] = field(default_factory=list)

    def add(self, kind: Kind, macs: int, elements: int) -> None:
        self.operators.append(Operator(self.block, kind, macs, elements, self.encoder))

    def elementwise(self, elements: int) -> None:
        self.add("elementwise", 0, elements)

    def conv(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        depthwise: bool = False,
        act: bool = True,
    ) -> None:
        """A convolution without bias; batch normalisation folds into it, the activation does not."""
        after = -(-self.side // stride)
        kind: Kind = "depthwise" if depthwise else "dense" if kernel > 1 else "pointwise"
        weights = kernel**2 * (1 if depthwise else inputs) * outputs
        self.add(kind, weights * after**2, inputs * self.side**2 + outputs * after**2)
        self.side = after
        if act:
            self.elementwise(2 * outputs * after**2)

    def token(self, inputs: int, outputs: int, positions: int) -> None:
        self.add("token", inputs * outputs * positions, (inputs + outputs) * positions)


def _inverted_residuals(trace: _Trace, arch: ArchConfig, i: int) -> None:
    inputs = arch.stage_channels[i - 1] if i else arch.stem_channels
    outputs, kernel = arch.stage_channels[i], arch.kernel_sizes[i]
    for j, hidden in enumerate(arch.expanded_channels[i]):
        stride = 2 if i and not j else 1
        trace.conv(inputs, hidden)
        trace.conv(hidden, hidden, kernel=kernel, stride=stride, depthwise=True)
        trace.conv(hidden, outputs, act=False)
        if stride == 1 and inputs == outputs:
            trace.elementwise(3 * outputs * trace.side**2)  # the sum
        inputs = outputs


def _mobilevit_block(trace: _Trace, arch: ArchConfig, b: int) -> None:
    first = arch.family == "mobilevitv1"
    channels, dim, kernel = arch.stage_channels[b + 2], arch.attention_dims[b], arch.kernel_sizes[b + 2]
    before, stretched = trace.side, arch.patch_rows[b] * arch.patch_sizes[b]
    trace.side = before if first else stretched
    trace.conv(channels, channels, kernel=kernel, depthwise=not first)
    trace.conv(channels, dim, act=False)
    trace.side = stretched
    trace.encoder = True
    _encoder(trace, arch, b)
    trace.encoder = False
    trace.side = before if first else stretched
    trace.conv(dim, channels, act=first)
    if first:
        trace.conv(2 * channels, channels, kernel=kernel)


def _encoder(trace: _Trace, arch: ArchConfig, b: int) -> None:
    dim, ffn_dim = arch.attention_dims[b], arch.ffn_dims[b]
    pixels, patches = arch.patch_sizes[b] ** 2, arch.patch_rows[b] ** 2
    positions = pixels * patches
    trace.elementwise(4 * dim * positions)  # into patches and back
    before, trace.operators = trace.operators, []
    trace.elementwise(2 * dim * positions)  # norm
    _mixer(trace, arch.attention[b], dim, pixels, patches)
    trace.elementwise(5 * dim * positions)  # sum, norm
    trace.token(dim, ffn_dim, positions)
    trace.elementwise(2 * ffn_dim * positions)
    trace.token(ffn_dim, dim, positions)
    trace.elementwise(3 * dim * positions)
    trace.operators = before + trace.operators * arch.attention_layers[b]  # all layers are alike
    trace.elementwise(2 * dim * positions)


def _mixer(trace: _Trace, attention: Attention, dim: int, pixels: int, patches: int) -> None:
    positions = pixels * patches
    if attention == "separable":
        trace.token(dim, 1 + 2 * dim, positions)
        trace.elementwise((2 + 5 * dim) * positions)  # softmax, weighted sum, gate
    else:
        trace.token(dim, 3 * dim, positions)
        keys = patches if attention == "multi_head" else min(LINFORMER_TOKENS, patches)
        if attention == "linformer":  # keys and values to fewer tokens
            trace.add("product", 2 * pixels * keys * patches * dim, 2 * pixels * (patches + keys) * dim)
        scores = pixels * patches * keys
        trace.add("product", 2 * scores * dim, 2 * (positions + pixels * keys) * dim + 2 * scores)
        trace.elementwise(2 * scores)  # softmax
    trace.token(dim, dim, positions)
