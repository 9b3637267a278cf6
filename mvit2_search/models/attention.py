"""Token mixers of the MobileViT family.

Shape letters: B batch, D channels of a token, P pixels per patch (4 for 2x2), N patches.
A mixer takes and gives [B, D, P, N]: each of the P pixel positions attends over the N patches.
"""

from torch import Tensor, nn


class SeparableSelfAttention(nn.Module):
    """MobileViTv2's attention of linear cost (arXiv:2206.02680, section 3).

    One learned score per token replaces the N x N attention matrix: the softmax of the scores over the
    patches weighs the keys into one context vector, which gates the values.

    Args:
        dim: D, the same at input and output.

    Shape:
        input x_BDPN, any P and N; output the same.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.qkv = nn.Conv2d(dim, 1 + 2 * dim, kernel_size=1)
        self.out = nn.Conv2d(dim, dim, kernel_size=1)

    def forward(self, x_BDPN: Tensor) -> Tensor:
        score_B1PN, key_BDPN, value_BDPN = self.qkv(x_BDPN).split([1, self.dim, self.dim], dim=1)
        weight_B1PN = score_B1PN.softmax(dim=-1)  # over patches, not over pixels
        context_BDP1 = (key_BDPN * weight_B1PN).sum(dim=-1, keepdim=True)
        gated_BDPN: Tensor = self.out(value_BDPN.relu() * context_BDP1)
        return gated_BDPN


TOKEN_MIXERS = {"separable": SeparableSelfAttention}
