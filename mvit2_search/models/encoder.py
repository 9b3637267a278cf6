"""The transformer inside a MobileViT block.

Shape letters: B batch, D channels of a token, H and W feature map, P pixels per patch, N patches.

Tokens are rows, [B, P, N, D] with D innermost, so that every projection is one matrix product. That costs one copy
on the way in and one on the way out. Keeping the map and regrouping the softmax alone was measured to be no
faster; `docs/decisions.md` has the figures.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvit2_search.models.attention import TOKEN_MIXERS, Grid

V1_DROPOUT = 0.1


class SampleNorm(nn.Module):
    """GroupNorm with one group, on rows: statistics over all channels and positions of a sample.

    Shape:
        input x_BPND; output the same.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x_BPND: Tensor) -> Tensor:
        return torch.addcmul(self.bias, F.layer_norm(x_BPND, x_BPND.shape[1:]), self.weight)


class EncoderLayer(nn.Module):
    """Pre-norm transformer layer: token mixer, then a feed-forward network, each with a residual.

    Shape:
        input x_BPND with its patches in `grid`; output the same.
    """

    def __init__(self, dim: int, ffn_dim: int, *, attention: str, grid: Grid, family: str) -> None:
        super().__init__()
        self.norm1 = _norm(dim, family)
        self.mixer = TOKEN_MIXERS[attention](dim, grid)
        self.norm2 = _norm(dim, family)
        self.ffn = nn.Sequential(nn.Linear(dim, ffn_dim), nn.SiLU(), nn.Linear(ffn_dim, dim))
        self.dropout = nn.Dropout(V1_DROPOUT if family == "mobilevitv1" else 0.0)

    def forward(self, x_BPND: Tensor, grid: Grid) -> Tensor:
        x = x_BPND + self.dropout(self.mixer(self.norm1(x_BPND), grid))
        y_BPND: Tensor = x + self.dropout(self.ffn(self.norm2(x)))
        return y_BPND


class Encoder(nn.Module):
    """Unfolds a map into tokens, applies the encoder layers and folds the tokens back.

    Args:
        grid: rows and columns of patches at the architecture's own input size.

    Shape:
        input [B, D, H, W], H and W multiples of `patch`; output the same.
    """

    def __init__(
        self, dim: int, ffn_dim: int, *, layers: int, attention: str, patch: int, grid: Grid, family: str
    ) -> None:
        super().__init__()
        self.patch = patch
        self.layers = nn.ModuleList(
            EncoderLayer(dim, ffn_dim, attention=attention, grid=grid, family=family) for _ in range(layers)
        )
        self.norm = _norm(dim, family)

    def forward(self, map_BDHW: Tensor) -> Tensor:
        grid = patch_grid(map_BDHW, self.patch)
        x_BPND = unfold(map_BDHW, self.patch)
        for layer in self.layers:
            x_BPND = layer(x_BPND, grid)
        return fold(self.norm(x_BPND), self.patch, grid)


def patch_grid(map_BDHW: Tensor, patch: int) -> Grid:
    """Rows and columns of patches, as plain integers."""
    height, width = map(int, map_BDHW.shape[-2:])
    return height // patch, width // patch


def unfold(map_BDHW: Tensor, patch: int) -> Tensor:
    """[B, D, H, W] to [B, P, N, D]; pixels row by row inside a patch, patches row by row."""
    (batch, dim), (rows, columns) = map(int, map_BDHW.shape[:2]), patch_grid(map_BDHW, patch)
    split = map_BDHW.permute(0, 2, 3, 1).reshape(batch, rows, patch, columns, patch, dim)
    return split.permute(0, 2, 4, 1, 3, 5).reshape(batch, patch * patch, rows * columns, dim)


def fold(x_BPND: Tensor, patch: int, grid: Grid) -> Tensor:
    """The inverse of `unfold`; channels last in memory."""
    (batch, dim), (rows, columns) = (int(x_BPND.shape[0]), int(x_BPND.shape[-1])), grid
    split = x_BPND.reshape(batch, patch, patch, rows, columns, dim).permute(0, 3, 1, 4, 2, 5)
    return split.reshape(batch, rows * patch, columns * patch, dim).permute(0, 3, 1, 2)


def _norm(dim: int, family: str) -> nn.Module:
    """MobileViT normalises each token, MobileViTv2 each sample."""
    return nn.LayerNorm(dim) if family == "mobilevitv1" else SampleNorm(dim)
