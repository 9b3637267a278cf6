"""MobileViT and MobileViTv2, built from an `ArchConfig`: to train, or folded for inference.

Shape letters: B batch, C channels, D channels of a token, H and W feature map, K classes.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mvit2_search.arch import ATTENTION_STAGES, STAGES, ArchConfig
from mvit2_search.arch.head import IMAGENET, Head
from mvit2_search.models.attention import Encoder, dropout_of

_STRIDES = (1, 2, 2, 2, 2)
_ROWS = 2048  # from here a convolution is faster than a matrix product


class PointwiseConv(nn.Conv2d):
    """A 1x1 convolution, without bias until a normalisation is folded into it.

    In training on a CPU, up to 2,047 rows (pixels of all images of a batch) are a matrix product, channels last in
    memory: a convolution takes longer to begin, but less for each row.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 1, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        rows = x_BCHW.numel() // self.in_channels
        if x_BCHW.device.type != "cpu" or not self.training or rows >= _ROWS:
            return super().forward(x_BCHW)
        return F.linear(x_BCHW.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


class ConvNorm(nn.Sequential):
    """Convolution without bias, batch normalisation and, with `act`, SiLU.

    H and W stay the same at stride 1 and are halved, rounding up, at stride 2.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, *, stride: int = 1, groups: int = 1, act: bool = True
    ) -> None:
        convolution: nn.Conv2d = (
            PointwiseConv(inputs, outputs)
            if kernel == stride == groups == 1
            else nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
        )
        super().__init__(convolution, nn.BatchNorm2d(outputs), *([nn.SiLU()] if act else []))

    def fold(self) -> None:
        """Fold the normalisation, as in evaluation mode, into the convolution, which gets a bias."""
        convolution, norm = self[0], self[1]
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        self[0], self[1] = fuse_conv_bn_eval(convolution, norm), nn.Identity()


class InvertedResidual(nn.Module):
    """MobileNetV2's block: expand 1x1, depth-wise, project 1x1; a residual where the shapes are equal."""

    def __init__(self, inputs: int, hidden: int, outputs: int, *, kernel: int, stride: int) -> None:
        super().__init__()
        self.residual = stride == 1 and inputs == outputs
        self.expand = ConvNorm(inputs, hidden)
        self.depthwise = ConvNorm(hidden, hidden, kernel, stride=stride, groups=hidden)
        self.project = ConvNorm(hidden, outputs, act=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(self.expand(x_BCHW)))
        return x_BCHW + y if self.residual else y


class MobileViTv2Block(nn.Module):
    """Depth-wise convolution, then attention between the patches of the map (arXiv:2206.02680).

    A map that the patch does not divide is stretched to the next multiple and stays so, as in ml-cvnets.
    """

    def __init__(self, channels: int, kernel: int, encoder: Encoder) -> None:
        super().__init__()
        self.local = ConvNorm(channels, channels, kernel, groups=channels)
        self.to_tokens = nn.Conv2d(channels, encoder.dim, 1, bias=False)
        self.encoder = encoder
        self.from_tokens = ConvNorm(encoder.dim, channels, act=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x = _resized(x_BCHW, _divisible(x_BCHW, self.encoder.patch), align_corners=True)
        y_BCHW: Tensor = self.from_tokens(self.encoder(self.to_tokens(self.local(x))))
        return y_BCHW


class MobileViTv1Block(nn.Module):
    """Full convolution, attention between patches, and a convolution over input and output together
    (arXiv:2110.02178).

    A map that is stretched for the attention is shrunk again.
    """

    def __init__(self, channels: int, kernel: int, encoder: Encoder) -> None:
        super().__init__()
        self.local = ConvNorm(channels, channels, kernel)
        self.to_tokens = nn.Conv2d(channels, encoder.dim, 1, bias=False)
        self.encoder = encoder
        self.from_tokens = ConvNorm(encoder.dim, channels)
        self.fuse = ConvNorm(2 * channels, channels, kernel)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        map_BDHW = self.to_tokens(self.local(x_BCHW))
        stretched = _resized(map_BDHW, _divisible(map_BDHW, self.encoder.patch), align_corners=False)
        mixed = _resized(self.encoder(stretched), _size(x_BCHW), align_corners=False)
        y_BCHW: Tensor = self.fuse(torch.cat((x_BCHW, self.from_tokens(mixed)), dim=1))
        return y_BCHW


class Classifier(nn.Module):
    """Mean over the map, dropout, linear layer: [B, K] logits."""

    def __init__(self, channels: int, head: Head, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(channels, head.classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        logits_BK: Tensor = self.linear(self.dropout(x_BCHW.mean(dim=(2, 3))))
        return logits_BK


class MobileViT(nn.Module):
    """An image classifier: logits [B, K] of images [B, 3, H, W], any H and W from 32.

    Images are as `to_input` in `task.data` gives them for `arch.channel_order`.
    """

    def __init__(self, arch: ArchConfig, head: Head) -> None:
        super().__init__()
        self.arch = arch
        last = arch.stage_channels[-1]
        self.stem = ConvNorm(3, arch.stem_channels, 3, stride=2)
        self.stages = nn.Sequential(*(_stage(arch, i) for i in range(STAGES)))
        self.final = ConvNorm(last, arch.final_channels) if arch.final_channels else nn.Identity()
        self.classifier = Classifier(arch.final_channels or last, head, dropout_of(arch))

    def forward(self, x_B3HW: Tensor) -> Tensor:
        logits_BK: Tensor = self.classifier(self.final(self.stages(self.stem(x_B3HW))))
        return logits_BK


def build_model(arch: ArchConfig, head: Head = IMAGENET) -> MobileViT:
    """The network of `arch` with random weights, drawn from torch's global generator."""
    model = MobileViT(arch, head)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)  # layers on tokens, as in transformers
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
    return model


def for_inference(model: MobileViT) -> MobileViT:
    """A copy in evaluation mode, with batch normalisation folded into the convolutions.

    The outputs are the same up to rounding, in about three quarters of the time on a CPU.
    """
    ready = copy.deepcopy(model).eval()
    for module in list(ready.modules()):
        if isinstance(module, ConvNorm):
            module.fold()
        elif isinstance(module, nn.SiLU):
            module.inplace = True
    return ready


def _stage(arch: ArchConfig, i: int) -> nn.Sequential:
    inputs = arch.stage_channels[i - 1] if i else arch.stem_channels
    outputs, kernel = arch.stage_channels[i], arch.kernel_sizes[i]
    modules: list[nn.Module] = []
    for j, hidden in enumerate(arch.expanded_channels[i]):
        stride = 1 if j else _STRIDES[i]
        modules.append(InvertedResidual(outputs if j else inputs, hidden, outputs, kernel=kernel, stride=stride))
    if i + 1 in ATTENTION_STAGES and arch.attention_layers[i - 2]:
        block = MobileViTv1Block if arch.family == "mobilevitv1" else MobileViTv2Block
        modules.append(block(outputs, kernel, Encoder(arch, i - 2)))
    return nn.Sequential(*modules)


def _divisible(x_BCHW: Tensor, patch: int) -> tuple[int, int]:
    """The size of the map, rounded up to multiples of `patch`."""
    height, width = _size(x_BCHW)
    return -(-height // patch) * patch, -(-width // patch) * patch


def _size(x_BCHW: Tensor) -> tuple[int, int]:
    height, width = map(int, x_BCHW.shape[-2:])
    return height, width


def _resized(x_BCHW: Tensor, size: tuple[int, int], *, align_corners: bool) -> Tensor:
    if size == _size(x_BCHW):
        return x_BCHW
    return F.interpolate(x_BCHW, size=size, mode="bilinear", align_corners=align_corners)
