"""SynFlow, a score of an untrained network that needs no data (Tanaka et al., arXiv:2006.05467)."""

import math

import torch
from torch import Tensor, nn

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.head import Head
from mvit2_search.models.attention import SampleNorm
from mvit2_search.models.mobilevit import build_model

_SIZE = 32  # pixels; the score sums over weights, which are the same at any size


class _Scale(nn.Module):
    """Divides by the root mean square, which counts as a constant.

    Attention multiplies values by contexts, which are sums of the same tokens: unscaled, the exponent would double
    in every layer and overflow.
    """

    def forward(self, x_BPND: Tensor) -> Tensor:
        return x_BPND / x_BPND.detach().square().mean().sqrt()


def synflow(arch: ArchConfig, head: Head) -> float:
    """Logarithm of the sum over all weights of weight times gradient.

    Every weight is its absolute value, the input is ones, and the gradient is that of the sum of the outputs.
    Batch normalisation is left out, and the norms of tokens only scale: they would divide by what is to be summed.
    As usual (Abdelfattah et al., arXiv:2101.08134), in double precision. Weights are drawn with seed 0.
    """
    model = _absolute(arch, head)
    weights = list(model.parameters())
    gradients = torch.autograd.grad(_flow(model), weights)
    products = [(weight.detach() * gradient).sum() for weight, gradient in zip(weights, gradients, strict=True)]
    return math.log(torch.stack(products).sum().item())


def _absolute(arch: ArchConfig, head: Head) -> nn.Module:
    """The network without normalisations and with absolute weights."""
    state = torch.get_rng_state()
    torch.manual_seed(0)
    try:
        model = build_model(arch, head).eval().double()
    finally:
        torch.set_rng_state(state)
    _replace_norms(model)
    with torch.no_grad():
        for weight in model.parameters():
            weight.abs_()
    return model


def _flow(model: nn.Module) -> Tensor:
    """Sum of the outputs for an image of ones."""
    total: Tensor = model(torch.ones(1, 3, _SIZE, _SIZE, dtype=torch.float64)).sum()
    return total


def _replace_norms(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, nn.Identity())
        elif isinstance(child, SampleNorm | nn.LayerNorm):
            setattr(module, name, _Scale())
        else:
            _replace_norms(child)
