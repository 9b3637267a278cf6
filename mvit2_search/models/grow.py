"""A larger network that computes what a smaller one does, so that it may be trained on as the largest of a space.

Nothing that was there reads what is new: weights from new channels to old ones are zero, new attention layers and
inverted residuals add zero, and larger kernels have a rim of zeros (the idea is that of Net2Net, Chen et al.,
arXiv:1511.05641). All else that is new is random, so that it can learn. Tokens are the exception: their norm takes
mean and variance over all of their channels, so that new ones would change the old ones.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from mvit2_search.arch import ATTENTION_STAGES, ArchConfig
from mvit2_search.arch.head import Head
from mvit2_search.errors import SpecError
from mvit2_search.models.mobilevit import build_model
from mvit2_search.models.slices import Cut, slicing_table

_ENDS = ("project.1.weight", "mixer.out.weight", "ffn.2.weight")  # of what a residual adds; biases begin at zero


def grown(
    weights: Mapping[str, Tensor], arch: ArchConfig, maximal: ArchConfig, head: Head, *, seed: int
) -> dict[str, Tensor]:
    """The state dict of `maximal` that gives the outputs of `arch` with `weights`, in evaluation mode.

    Args:
        weights: a state dict of `arch`. A classifier that it lacks is random, and reads nothing new either.
        seed: of what is new. The random state of the process stays as it is.

    Raises:
        SpecError: `arch` is no slice of `maximal`, or has narrower tokens, and which.
    """
    table = slicing_table(maximal, arch, head, {})
    _refuse_wider_tokens(arch, maximal)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        own = build_model(maximal, head).state_dict()
    for name, cut in table.items():
        target = own[cut.source]
        _put(target, cut, weights[name] if name in weights else cut.of(target).clone())
    for name in own.keys() - {cut.source for cut in table.values()}:
        if name.endswith(_ENDS):
            own[name].zero_()
    return own


def _refuse_wider_tokens(arch: ArchConfig, maximal: ArchConfig) -> None:
    for stage, had, asked in zip(ATTENTION_STAGES, arch.attention_dims, maximal.attention_dims, strict=True):
        if asked != had:
            raise SpecError(
                f"`attention_dims` {asked} in stage {stage}, where the weights have {had}: tokens are normalised "
                f"over all of their channels, so wider ones change the network; give a space with at most {had}, "
                "or weights of a wider network"
            )


def _put(target: Tensor, cut: Cut, value: Tensor) -> None:
    """Write what is known into a tensor of the larger network; the outputs known read nothing else."""
    value = value.to(target)
    if not target.ndim:
        target.copy_(value)
        return
    rows, *columns = (_all_if_none(index, target.shape[axis]) for axis, index in enumerate(cut.indices))
    target[rows] = 0
    inner = slice(cut.margin, -cut.margin or None)
    kernel = target[..., inner, inner] if cut.margin else target
    if columns:
        kernel[rows[:, None], columns[0]] = value
    else:
        kernel[rows] = value


def _all_if_none(index: Tensor | None, count: int) -> Tensor:
    return torch.arange(count) if index is None else index
