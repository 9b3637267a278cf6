"""The convolutional parts of the MobileViT family.

Shape letters: B batch, C channels, H and W height and width of the feature map.
"""

from torch import Tensor, nn


class ConvNorm(nn.Sequential):
    """Convolution without bias, batch normalisation and, unless `act` is off, SiLU.

    Padding keeps H and W at stride 1 and halves them, rounding up, at stride 2.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, *, stride: int = 1, groups: int = 1, act: bool = True
    ) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        super().__init__(*layers, *([nn.SiLU()] if act else []))


class InvertedResidual(nn.Module):
    """MobileNetV2's block: expand 1x1, depth-wise, project 1x1; a residual where shapes allow it.

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
