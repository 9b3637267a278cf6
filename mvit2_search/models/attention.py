"""The transformer inside a MobileViT block: token mixers behind one signature, and the layers around them.

Shape letters: B batch, P pixels per patch (4 for 2x2), N patches, D channels of a token, H heads, K channels of a
head, M tokens that Linformer projects to; H and W of a feature map.

A mixer maps `(x_BPND, grid)` to [B, P, N, D], for any P and N: each of the P pixel positions attends over the N
patches, and `grid` gives the rows and columns of patches. `Mixer(dim, grid)` builds one for D channels and the
patch grid of the architecture's own input size. `arch.cost.MIXER_COSTS` computes the costs in the docstrings.

Tokens are rows, with D innermost, so that every projection is one matrix product. That costs one copy on the way
in and one on the way out. Keeping the map and regrouping the softmax alone was measured to be no faster:
`docs/decisions.md`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvit2_search.arch import ATTENTION_HEADS, LINFORMER_TOKENS, ArchConfig

Grid = tuple[int, int]


class SeparableSelfAttention(nn.Module):
    """MobileViTv2's attention of linear cost (arXiv:2206.02680, section 3).

    One learned score per token replaces the N x N attention matrix: the softmax of the scores over the patches
    weighs the keys into one context vector, which gates the values. The weights sum to 1, so the context is also
    the key of the weighted sum of the tokens. That projects one token to a key instead of N.

    `P N D (3 D + 1)` multiply-adds as published; `P (N D (2 D + 2) + D**2)` here.
    """

    def __init__(self, dim: int, grid: Grid) -> None:
        super().__init__()
        self.dim = dim
        self.qkv = nn.Linear(dim, 1 + 2 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x_BPND: Tensor, grid: Grid) -> Tensor:
        query, key, value = split_qkv(self.qkv, self.dim)
        weight_BPN1 = F.linear(x_BPND, *query).softmax(dim=2)  # over patches, not over pixels
        context_BP1D = F.linear(weight_BPN1.transpose(2, 3) @ x_BPND, *key)
        gated_BPND: Tensor = self.out(F.linear(x_BPND, *value).relu() * context_BP1D)
        return gated_BPND


class MultiHeadAttention(nn.Module):
    """The transformer's attention, of quadratic cost, as in MobileViT (arXiv:2110.02178).

    `P N (4 D**2 + 2 N D)` multiply-adds.
    """

    def __init__(self, dim: int, grid: Grid, heads: int = ATTENTION_HEADS) -> None:
        super().__init__()
        self.heads, self.scale = heads, float((dim // heads) ** -0.5)  # a constant of an exported file
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x_BPND: Tensor, grid: Grid) -> Tensor:
        query, key, value = self.qkv(x_BPND).chunk(3, dim=-1)
        mixed_BPND: Tensor = self.out(self._attend(query, key, value))
        return mixed_BPND

    def _attend(self, query_BPND: Tensor, key_BPMD: Tensor, value_BPMD: Tensor) -> Tensor:
        """Scaled dot-product attention; [B, P, N, D]."""
        query, key, value = (_by_head(t, self.heads) for t in (query_BPND, key_BPMD, value_BPMD))
        weight_BPHNM = (query * self.scale @ key.transpose(-1, -2)).softmax(dim=-1)
        mixed_BPND: Tensor = (weight_BPHNM @ value).transpose(2, 3).flatten(3)
        return mixed_BPND


class LinformerAttention(MultiHeadAttention):
    """Multi-head attention on keys and values projected to M tokens (arXiv:2006.04768).

    M is 256, or N where there are fewer patches. At 256 pixels N is 256, 64 and 16 in the three stages, so nothing
    is saved there: in table 1 of MobileViTv2 this is the slowest of the three mixers. The projections are learned
    for the patch grid of the architecture's input size and shared by the heads. Tokens of another grid are
    stretched over it, so that a network can be trained on smaller images.

    `P N (4 D**2 + 4 M D)` multiply-adds.
    """

    def __init__(self, dim: int, grid: Grid, heads: int = ATTENTION_HEADS) -> None:
        super().__init__(dim, grid, heads)
        rows, columns = self.grid = grid
        shape = min(LINFORMER_TOKENS, rows * columns), rows * columns
        self.project_keys = nn.Parameter(torch.randn(shape) / shape[1] ** 0.5)  # keeps the keys' variance
        self.project_values = nn.Parameter(torch.randn(shape) / shape[1] ** 0.5)

    def forward(self, x_BPND: Tensor, grid: Grid) -> Tensor:
        query, key, value = self.qkv(x_BPND).chunk(3, dim=-1)
        key_BPMD = self._over(grid, self.project_keys) @ key
        value_BPMD = self._over(grid, self.project_values) @ value
        mixed_BPND: Tensor = self.out(self._attend(query, key_BPMD, value_BPMD))
        return mixed_BPND

    def _over(self, grid: Grid, weight_MN: Tensor) -> Tensor:
        """The projection for tokens of `grid`, which are stretched over the learned grid.

        Stretching is linear, so it is applied to the projection; the sums of its rows stay the same.
        """
        if grid == self.grid:
            return weight_MN
        rows, columns = grid
        each = torch.eye(rows * columns, device=weight_MN.device).reshape(1, -1, rows, columns)
        stretched_LN = F.interpolate(each, size=self.grid, mode="bilinear")[0].flatten(1)
        return weight_MN @ stretched_LN.T


def split_qkv(qkv: nn.Linear, dim: int) -> list[tuple[Tensor, Tensor]]:
    """Weight and bias of the score, key and value projections of separable self-attention."""
    sizes = [1, dim, dim]
    return list(zip(torch.split(qkv.weight, sizes), torch.split(qkv.bias, sizes), strict=True))


def _by_head(x_BPND: Tensor, heads: int) -> Tensor:
    """[B, P, H, N, K]."""
    batch, pixels, tokens, dim = map(int, x_BPND.shape)
    return x_BPND.reshape(batch, pixels, tokens, heads, dim // heads).transpose(2, 3)


TOKEN_MIXERS = {
    "separable": SeparableSelfAttention,
    "multi_head": MultiHeadAttention,
    "linformer": LinformerAttention,
}


class SampleNorm(nn.Module):
    """GroupNorm with one group, on rows: statistics over all channels and positions of a sample."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x_BPND: Tensor) -> Tensor:
        return torch.addcmul(self.bias, F.layer_norm(x_BPND, x_BPND.shape[1:]), self.weight)


class EncoderLayer(nn.Module):
    """Pre-norm transformer layer: token mixer, then a feed-forward network, each with a residual."""

    def __init__(self, arch: ArchConfig, b: int) -> None:
        super().__init__()
        dim, ffn_dim, rows = arch.attention_dims[b], arch.ffn_dims[b], arch.patch_rows[b]
        self.norm1 = _norm(arch, dim)
        self.mixer = TOKEN_MIXERS[arch.attention[b]](dim, (rows, rows))
        self.norm2 = _norm(arch, dim)
        self.ffn = nn.Sequential(nn.Linear(dim, ffn_dim), nn.SiLU(), nn.Linear(ffn_dim, dim))
        self.dropout = nn.Dropout(dropout_of(arch))

    def forward(self, x_BPND: Tensor, grid: Grid) -> Tensor:
        x = x_BPND + self.dropout(self.mixer(self.norm1(x_BPND), grid))
        y_BPND: Tensor = x + self.dropout(self.ffn(self.norm2(x)))
        return y_BPND


class Encoder(nn.Module):
    """Unfolds a map into tokens, applies the layers of block `b`, from 0, and folds the tokens back.

    H and W must be multiples of `patch`.
    """

    def __init__(self, arch: ArchConfig, b: int) -> None:
        super().__init__()
        self.patch, self.dim = arch.patch_sizes[b], arch.attention_dims[b]
        self.layers = nn.ModuleList(EncoderLayer(arch, b) for _ in range(arch.attention_layers[b]))
        self.norm = _norm(arch, self.dim)

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


def _norm(arch: ArchConfig, dim: int) -> nn.Module:
    """MobileViT normalises each token, MobileViTv2 each sample."""
    return nn.LayerNorm(dim) if arch.family == "mobilevitv1" else SampleNorm(dim)


def dropout_of(arch: ArchConfig) -> float:
    """MobileViTv2 has none."""
    return 0.1 if arch.family == "mobilevitv1" else 0.0
