"""The convolutional parts of the MobileViT family.

Shape letters: B batch, C channels, H and W height and width of the feature map.
"""

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class PointwiseConv(nn.Conv2d):
    """A 1x1 convolution, without bias until a normalisation is folded into it.

    In training on a CPU it is a matrix product of channels-last rows, which shortens a training step of
    MobileViTv2-0.5 by a tenth.

    Shape:
        input [B, inputs, H, W], channels last in memory; output [B, outputs, H, W], the same.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 1, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if x_BCHW.device.type != "cpu" or not self.training:
            return super().forward(x_BCHW)
        return F.linear(x_BCHW.permute(0, 2, 3, 1), self.weight[:, :, 0, 0], self.bias).permute(0, 3, 1, 2)


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
    """MobileNetV2's block: expand 1x1, depth-wise, project 1x1; a residual where the shapes are equal.

    Shape:
        input x_BCHW; output [B, outputs, H / stride, W / stride].
    """

    def __init__(self, inputs: int, hidden: int, outputs: int, *, kernel: int, stride: int) -> None:
        super().__init__()
        self.residual = stride == 1 and inputs == outputs
        self.expand = ConvNorm(inputs, hidden)
        self.depthwise = ConvNorm(hidden, hidden, kernel, stride=stride, groups=hidden)
        self.project = ConvNorm(hidden, outputs, act=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(self.expand(x_BCHW)))
        return x_BCHW + y if self.residual else y
