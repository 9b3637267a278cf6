"""Token mixers of the MobileViT family, behind one signature.

Shape letters: B batch, P pixels per patch (4 for 2x2), N patches, D channels of a token, H heads,
K channels of a head, M tokens that Linformer projects to.

A mixer maps `(x_BPND, grid)` to [B, P, N, D]: each of the P pixel positions attends over the N patches, and
`grid` gives the rows and columns of patches. `Mixer(dim, grid)` builds one for D channels and the patch grid of
the architecture's own input size. `arch.cost.MIXER_COSTS` computes the costs that the docstrings give.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvit2_search.arch import ATTENTION_HEADS, LINFORMER_TOKENS

Grid = tuple[int, int]


class SeparableSelfAttention(nn.Module):
    """MobileViTv2's attention of linear cost (arXiv:2206.02680, section 3).

    One learned score per token replaces the N x N attention matrix: the softmax of the scores over the patches
    weighs the keys into one context vector, which gates the values. The weights sum to 1, so the context is also
    the key of the weighted sum of the tokens. That projects one token to a key instead of N.

    `P N D (3 D + 1)` multiply-adds as published; `P (N D (2 D + 2) + D**2)` here.

    Shape:
        input x_BPND, any P and N; output the same.
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

    Shape:
        input x_BPND, any P and N; output the same.
    """

    def __init__(self, dim: int, grid: Grid, heads: int = ATTENTION_HEADS) -> None:
        super().__init__()
        self.heads, self.scale = heads, score_scale(dim, heads)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x_BPND: Tensor, grid: Grid) -> Tensor:
        query, key, value = self.qkv(x_BPND).chunk(3, dim=-1)
        mixed_BPND: Tensor = self.out(_attend(query, key, value, self.heads, self.scale))
        return mixed_BPND


class LinformerAttention(nn.Module):
    """Multi-head attention on keys and values projected to M tokens (arXiv:2006.04768).

    M is 256, or N where there are fewer patches. At 256 pixels N is 256, 64 and 16 in the three stages, so nothing
    is saved there: in table 1 of MobileViTv2 this is the slowest of the three mixers. The projections are learned
    for the patch grid of the architecture's input size and shared by the heads. Tokens of another grid are
    stretched over it, so that a network can be trained on smaller images.

    `P N (4 D**2 + 4 M D)` multiply-adds.

    Shape:
        input x_BPND, any P and N; output the same.
    """

    def __init__(self, dim: int, grid: Grid, heads: int = ATTENTION_HEADS) -> None:
        super().__init__()
        rows, columns = self.grid = grid
        self.heads, self.scale = heads, score_scale(dim, heads)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        shape = min(LINFORMER_TOKENS, rows * columns), rows * columns
        self.project_keys = nn.Parameter(torch.randn(shape) / shape[1] ** 0.5)  # keeps the keys' variance
        self.project_values = nn.Parameter(torch.randn(shape) / shape[1] ** 0.5)

    def forward(self, x_BPND: Tensor, grid: Grid) -> Tensor:
        query, key, value = self.qkv(x_BPND).chunk(3, dim=-1)
        key_BPMD = self._over(grid, self.project_keys) @ key
        value_BPMD = self._over(grid, self.project_values) @ value
        mixed_BPND: Tensor = self.out(_attend(query, key_BPMD, value_BPMD, self.heads, self.scale))
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
    ends = (0, 1, 1 + dim, 1 + 2 * dim)
    return [(qkv.weight[a:b], qkv.bias[a:b]) for a, b in pairwise(ends)]


def score_scale(dim: int, heads: int) -> float:
    """The factor of the attention scores. An exported file has it as a constant."""
    return float((dim // heads) ** -0.5)


def _attend(query_BPND: Tensor, key_BPMD: Tensor, value_BPMD: Tensor, heads: int, scale: float) -> Tensor:
    """Scaled dot-product attention with `heads` heads; [B, P, N, D]."""
    query, key, value = (_by_head(t, heads) for t in (query_BPND, key_BPMD, value_BPMD))
    weight_BPHNM = (query * scale @ key.transpose(-1, -2)).softmax(dim=-1)
    mixed_BPND: Tensor = (weight_BPHNM @ value).transpose(2, 3).flatten(3)
    return mixed_BPND


def _by_head(x_BPND: Tensor, heads: int) -> Tensor:
    """[B, P, H, N, K]."""
    batch, pixels, tokens, dim = map(int, x_BPND.shape)
    return x_BPND.reshape(batch, pixels, tokens, heads, dim // heads).transpose(2, 3)


TOKEN_MIXERS = {
    "separable": SeparableSelfAttention,
    "multi_head": MultiHeadAttention,
    "linformer": LinformerAttention,
}
