"""Formulations: the same network in other operators, of which a runtime may run some faster than others.

Training uses the form that `mobilevit` builds, the fastest in torch on a CPU. Exported networks use one of these,
by name. All have the same weights and, up to rounding, the same outputs.

Values in a Core ML package are named after local variables of `forward` and what it calls: with another name the
file has another hash, and is timed again.

Shape letters: B batch, D channels of a token, H and W feature map, P pixels per patch, N patches.
"""

import copy
import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from mvit2_search.models.attention import (
    Encoder,
    EncoderLayer,
    Grid,
    MultiHeadAttention,
    SampleNorm,
    SeparableSelfAttention,
    patch_grid,
    split_qkv,
)
from mvit2_search.models.mobilevit import Classifier, MobileViT, PointwiseConv
from mvit2_search.records import FormulationName


@dataclass(frozen=True, kw_only=True, slots=True)
class Formulation:
    """The operators that a network is made of.

    Attributes:
        pixel_shuffle: cut the map into patches by pixel_unshuffle, instead of a permutation of five axes.
        whole_norm: GroupNorm with one group as a layer norm over the sample and an affine part. Runtimes break
            GroupNorm up into reshapes, means and squares.
        sum_first: project the weighted sum of the tokens to a key, instead of every token.
        conv_head: the classifier as a 1x1 convolution.
    """

    pixel_shuffle: bool = True
    whole_norm: bool = False
    sum_first: bool = False
    conv_head: bool = False

    def unfold(self, map_BDHW: Tensor, patch: int) -> Tensor:
        """[B, D, H, W] to [B, D, P, N]."""
        (batch, dim), (rows, columns) = map(int, map_BDHW.shape[:2]), patch_grid(map_BDHW, patch)
        if self.pixel_shuffle:
            return F.pixel_unshuffle(map_BDHW, patch).reshape(batch, dim, patch * patch, rows * columns)
        split = map_BDHW.reshape(batch * dim, rows, patch, columns, patch)
        return split.permute(0, 2, 4, 1, 3).reshape(batch, dim, patch * patch, rows * columns)

    def fold(self, x_BDPN: Tensor, patch: int, grid: Grid) -> Tensor:
        """The inverse of `unfold`."""
        (batch, dim), (rows, columns) = map(int, x_BDPN.shape[:2]), grid
        if self.pixel_shuffle:
            return F.pixel_shuffle(x_BDPN.reshape(batch, dim * patch * patch, rows, columns), patch)
        split = x_BDPN.reshape(batch * dim, patch, patch, rows, columns)
        return split.permute(0, 3, 1, 4, 2).reshape(batch, dim, rows * patch, columns * patch)


FORMULATIONS: dict[FormulationName, Formulation] = {
    "rank5": Formulation(pixel_shuffle=False),
    "pixel_unshuffle": Formulation(),
    "layer_norm": Formulation(whole_norm=True, conv_head=True),
    "sum_first": Formulation(whole_norm=True, sum_first=True, conv_head=True),
}


def formulated(model: MobileViT, name: FormulationName) -> MobileViT:
    """A copy of `model`, in evaluation mode, in the formulation called `name`."""
    formulation = FORMULATIONS[name]
    written = copy.deepcopy(model).eval()
    for module in list(written.modules()):
        for child_name, child in module.named_children():
            setattr(module, child_name, _rewritten(child, formulation))
    return written


def mixer_for_export(
    mixer: SeparableSelfAttention | MultiHeadAttention, grid: Grid, name: FormulationName
) -> tuple[nn.Module, tuple[int, ...]]:
    """A token mixer alone, in the formulation that it has inside a network, and the shape of its one input.

    The input is one image's tokens with one pixel per patch: [1, D, 1, N] for separable self-attention and
    [1, 1, N, D] for the others. The output has the same shape.
    """
    tokens, dim = math.prod(grid), mixer.out.in_features
    if isinstance(mixer, SeparableSelfAttention):
        return _channels_first(mixer, FORMULATIONS[name]).eval(), (1, dim, 1, tokens)
    return _RowsMixer(mixer, grid).eval(), (1, 1, tokens, dim)


def _rewritten(module: nn.Module, formulation: Formulation) -> nn.Module:
    match module:
        case PointwiseConv():
            return _conv(module.weight, module.bias)
        case Encoder() if all(isinstance(layer.mixer, SeparableSelfAttention) for layer in module.layers):
            return _ChannelsFirstEncoder(module, formulation)
        case Encoder():
            return _RowsEncoder(module, formulation)
        case Classifier() if formulation.conv_head:
            return _ConvClassifier(module)
        case _:
            return module


class _RowsEncoder(nn.Module):
    """Tokens as rows, for the other mixers: only `unfold` and `fold` differ between formulations."""

    def __init__(self, encoder: Encoder, formulation: Formulation) -> None:
        super().__init__()
        self.encoder, self.patch, self.formulation = encoder, encoder.patch, formulation
        for module in list(encoder.modules()):
            for name, child in module.named_children():
                if isinstance(child, SampleNorm):
                    setattr(module, name, _RowsNorm(child))

    def forward(self, map_BDHW: Tensor) -> Tensor:
        grid = patch_grid(map_BDHW, self.patch)
        x_BPND = self.formulation.unfold(map_BDHW, self.patch).permute(0, 2, 3, 1)
        for layer in self.encoder.layers:
            x_BPND = layer(x_BPND, grid)
        return self.formulation.fold(self.encoder.norm(x_BPND).permute(0, 3, 1, 2), self.patch, grid)


class _RowsNorm(nn.Module):
    """`SampleNorm` in operators that every converter supports."""

    def __init__(self, norm: SampleNorm) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x_BPND: Tensor) -> Tensor:
        return F.layer_norm(x_BPND, list(map(int, x_BPND.shape[1:]))) * self.weight + self.bias


class _ChannelsFirstEncoder(nn.Module):
    """Tokens as [B, D, P, N] and projections as 1x1 convolutions, as in ml-cvnets: no transposition."""

    def __init__(self, encoder: Encoder, formulation: Formulation) -> None:
        super().__init__()
        self.patch, self.formulation = encoder.patch, formulation
        layers = [module for module in encoder.layers if isinstance(module, EncoderLayer)]
        self.layers = nn.Sequential(*(_ChannelsFirstLayer(layer, formulation) for layer in layers))
        self.norm = _channels_first_norm(encoder.norm, formulation)

    def forward(self, map_BDHW: Tensor) -> Tensor:
        x_BDPN = self.norm(self.layers(self.formulation.unfold(map_BDHW, self.patch)))
        return self.formulation.fold(x_BDPN, self.patch, patch_grid(map_BDHW, self.patch))


class _ChannelsFirstLayer(nn.Module):
    def __init__(self, layer: EncoderLayer, formulation: Formulation) -> None:
        super().__init__()
        self.norm1 = _channels_first_norm(layer.norm1, formulation)
        self.mixer = _channels_first(layer.mixer, formulation)
        self.norm2 = _channels_first_norm(layer.norm2, formulation)
        self.ffn = nn.Sequential(*(_as_conv(module) for module in layer.ffn))

    def forward(self, x_BDPN: Tensor) -> Tensor:
        x = x_BDPN + self.mixer(self.norm1(x_BDPN))
        y_BDPN: Tensor = x + self.ffn(self.norm2(x))
        return y_BDPN


def _channels_first(mixer: SeparableSelfAttention, formulation: Formulation) -> nn.Module:
    return _SumFirstAttention(mixer) if formulation.sum_first else _ChannelsFirstAttention(mixer)


class _RowsMixer(nn.Module):
    """A mixer on one patch grid."""

    def __init__(self, mixer: nn.Module, grid: Grid) -> None:
        super().__init__()
        self.mixer, self.grid = mixer, grid

    def forward(self, x_BPND: Tensor) -> Tensor:
        mixed_BPND: Tensor = self.mixer(x_BPND, self.grid)
        return mixed_BPND


class _ChannelsFirstAttention(nn.Module):
    """Separable self-attention as the paper writes it: scores, keys and values of every token."""

    def __init__(self, mixer: SeparableSelfAttention) -> None:
        super().__init__()
        self.sizes = [1, mixer.dim, mixer.dim]
        self.qkv, self.out = _as_conv(mixer.qkv), _as_conv(mixer.out)

    def forward(self, x_BDPN: Tensor) -> Tensor:
        score_B1PN, key_BDPN, value_BDPN = self.qkv(x_BDPN).split(self.sizes, dim=1)
        context_BDP1 = (key_BDPN * score_B1PN.softmax(dim=-1)).sum(dim=-1, keepdim=True)
        gated_BDPN: Tensor = self.out(value_BDPN.relu() * context_BDP1)
        return gated_BDPN


class _SumFirstAttention(nn.Module):
    """The same with one key per pixel position: that of the weighted sum of the tokens."""

    def __init__(self, mixer: SeparableSelfAttention) -> None:
        super().__init__()
        score, key, value = split_qkv(mixer.qkv, mixer.dim)
        self.score, self.key, self.value = _conv(*score), _conv(*key), _conv(*value)
        self.out = _as_conv(mixer.out)

    def forward(self, x_BDPN: Tensor) -> Tensor:
        summed_BDP1 = (x_BDPN * self.score(x_BDPN).softmax(dim=-1)).sum(dim=-1, keepdim=True)
        gated_BDPN: Tensor = self.out(self.value(x_BDPN).relu() * self.key(summed_BDP1))
        return gated_BDPN


def _channels_first_norm(norm: nn.Module, formulation: Formulation) -> nn.Module:
    if isinstance(norm, nn.LayerNorm):
        return _TokenNorm(norm)
    assert isinstance(norm, SampleNorm)
    return _ChannelsFirstNorm(norm, whole=formulation.whole_norm)


class _ChannelsFirstNorm(nn.Module):
    """GroupNorm with one group."""

    def __init__(self, norm: SampleNorm, *, whole: bool) -> None:
        super().__init__()
        self.whole, self.weight, self.bias = whole, norm.weight, norm.bias

    def forward(self, x_BDPN: Tensor) -> Tensor:
        if not self.whole:
            return F.group_norm(x_BDPN, 1, self.weight, self.bias)
        normalised = F.layer_norm(x_BDPN, list(map(int, x_BDPN.shape[1:])))
        return normalised * self.weight[:, None, None] + self.bias[:, None, None]


class _TokenNorm(nn.Module):
    """LayerNorm over the channels of each token."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x_BDPN: Tensor) -> Tensor:
        x_BPND: Tensor = self.norm(x_BDPN.permute(0, 2, 3, 1))
        return x_BPND.permute(0, 3, 1, 2)


class _ConvClassifier(nn.Module):
    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.conv = _as_conv(classifier.linear)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        logits_BK11: Tensor = self.conv(x_BCHW.mean(dim=(2, 3), keepdim=True))
        return logits_BK11.flatten(1)


def _as_conv(module: nn.Module) -> nn.Module:
    """A linear layer as a 1x1 convolution; anything else as it is."""
    return _conv(module.weight, module.bias) if isinstance(module, nn.Linear) else module


def _conv(weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
    """A linear map of the channels as a 1x1 convolution."""
    outputs, inputs = weight.shape[:2]
    conv = nn.Conv2d(inputs, outputs, 1, bias=bias is not None, device="meta")  # draws no weights
    conv.weight = nn.Parameter(weight.detach().reshape(outputs, inputs, 1, 1))
    if bias is not None:
        conv.bias = nn.Parameter(bias.detach())
    return conv
