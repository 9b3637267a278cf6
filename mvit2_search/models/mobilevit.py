"""MobileViTv2, built from an `ArchConfig`.

Shape letters: B batch, C channels, H and W feature map, D channels of a token, P pixels per patch,
N patches.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from mvit2_search.arch import ATTENTION_STAGES, STAGES, ArchConfig
from mvit2_search.models.attention import TOKEN_MIXERS
from mvit2_search.models.layers import ConvNorm, InvertedResidual

_STRIDES = (1, 2, 2, 2, 2)


class EncoderLayer(nn.Module):
    """Pre-norm transformer layer: token mixer, then a feed-forward network, each with a residual.

    The norm is GroupNorm with one group: statistics over all channels and positions of a sample.

    Shape:
        input x_BDPN; output the same.
    """

    def __init__(self, dim: int, ffn_dim: int, attention: str) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(1, dim)
        self.mixer = TOKEN_MIXERS[attention](dim)
        self.norm2 = nn.GroupNorm(1, dim)
        self.ffn = nn.Sequential(nn.Conv2d(dim, ffn_dim, 1), nn.SiLU(), nn.Conv2d(ffn_dim, dim, 1))

    def forward(self, x_BDPN: Tensor) -> Tensor:
        x = x_BDPN + self.mixer(self.norm1(x_BDPN))
        y_BDPN: Tensor = x + self.ffn(self.norm2(x))
        return y_BDPN


class MobileViTBlock(nn.Module):
    """Depth-wise convolution, then attention between the patches of the map (arXiv:2206.02680).

    A map that the patch does not divide is first stretched to the next size that it does, and stays
    so, as in ml-cvnets.

    Shape:
        input x_BCHW; output [B, C, H', W'] with H' and W' rounded up to multiples of `patch`.
    """

    def __init__(
        self, channels: int, dim: int, ffn_dim: int, *, layers: int, attention: str, kernel: int, patch: int
    ) -> None:
        super().__init__()
        self.patch = patch
        self.local = ConvNorm(channels, channels, kernel, groups=channels)
        self.to_tokens = nn.Conv2d(channels, dim, 1, bias=False)
        self.layers = nn.Sequential(*(EncoderLayer(dim, ffn_dim, attention) for _ in range(layers)))
        self.norm = nn.GroupNorm(1, dim)
        self.project = ConvNorm(dim, channels, act=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x = self._stretched(x_BCHW)
        map_BDHW = self.to_tokens(self.local(x))
        tokens_BDPN = self.norm(self.layers(unfold(map_BDHW, self.patch)))
        y_BCHW: Tensor = self.project(fold(tokens_BDPN, self.patch, map_BDHW.shape[-2], map_BDHW.shape[-1]))
        return y_BCHW

    def _stretched(self, x_BCHW: Tensor) -> Tensor:
        height, width = map(int, x_BCHW.shape[-2:])
        size = (-(-height // self.patch) * self.patch, -(-width // self.patch) * self.patch)
        if size == (height, width):
            return x_BCHW
        return F.interpolate(x_BCHW, size=size, mode="bilinear", align_corners=True)


def unfold(x_BCHW: Tensor, patch: int) -> Tensor:
    """[B, C, H, W] to [B, C, P, N]; pixels row by row inside a patch, patches row by row."""
    batch, channels = map(int, x_BCHW.shape[:2])
    return F.pixel_unshuffle(x_BCHW, patch).reshape(batch, channels, patch * patch, -1)


def fold(x_BCPN: Tensor, patch: int, height: int, width: int) -> Tensor:
    """The inverse of `unfold` for a map of `height` by `width`."""
    batch, channels = map(int, x_BCPN.shape[:2])
    rows, columns = int(height) // patch, int(width) // patch
    return F.pixel_shuffle(x_BCPN.reshape(batch, channels * patch * patch, rows, columns), patch)


class MobileViTv2(nn.Module):
    """A classifier for RGB images in [0, 1], without mean or deviation taken off.

    Shape:
        input [B, 3, H, W], any H and W from 32; output [B, num_classes] logits.
    """

    def __init__(self, arch: ArchConfig, num_classes: int) -> None:
        super().__init__()
        self.stem = ConvNorm(3, arch.stem_channels, 3, stride=2)
        self.stages = nn.Sequential(*(_stage(arch, i) for i in range(STAGES)))
        self.classifier = nn.Linear(arch.stage_channels[-1], num_classes)

    def forward(self, x_B3HW: Tensor) -> Tensor:
        logits_BK: Tensor = self.classifier(self.stages(self.stem(x_B3HW)).mean(dim=(2, 3)))
        return logits_BK


def build_model(arch: ArchConfig, num_classes: int = 1000) -> MobileViTv2:
    """The network of `arch` with fresh random weights, which follow torch's global seed."""
    model = MobileViTv2(arch, num_classes)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
            nn.init.trunc_normal_(module.weight, std=0.02)  # what acts on tokens, as in transformers
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
    return model


def _stage(arch: ArchConfig, i: int) -> nn.Sequential:
    inputs = arch.stage_channels[i - 1] if i else arch.stem_channels
    outputs, kernel = arch.stage_channels[i], arch.kernel_sizes[i]
    modules: list[nn.Module] = []
    for j, hidden in enumerate(arch.expanded_channels[i]):
        stride = 1 if j else _STRIDES[i]
        modules.append(InvertedResidual(outputs if j else inputs, hidden, outputs, kernel=kernel, stride=stride))
    if i + 1 in ATTENTION_STAGES and arch.attention_layers[i - 2]:
        modules.append(_block(arch, i - 2, outputs, kernel))
    return nn.Sequential(*modules)


def _block(arch: ArchConfig, b: int, channels: int, kernel: int) -> MobileViTBlock:
    return MobileViTBlock(
        channels,
        arch.attention_dims[b],
        arch.ffn_dims[b],
        layers=arch.attention_layers[b],
        attention=arch.attention[b],
        kernel=kernel,
        patch=arch.patch_sizes[b],
    )
