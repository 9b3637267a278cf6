"""Which channels of a network matter most, so that its slices keep them."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.head import Head
from mvit2_search.models.groups import UNCUT, axis_groups, group_sizes, place_of

Order = Mapping[str, Tensor]
"""Channels of each group (`models.groups`), the most important first; a group that is left out stays as it is."""


def l1_order(weights: Mapping[str, Tensor], arch: ArchConfig, head: Head) -> dict[str, Tensor]:
    """By the sum of the absolute weights that read a channel, as in once-for-all networks: no data is needed.

    What writes a channel tells little, as most channels are normalised afterwards.
    """
    scores = {name: tensor.abs() for name, tensor in weights.items()}
    return _order(group_sums(scores, arch, head, readers_only=True))


def taylor_order(
    weights: Mapping[str, Tensor], gradients: Iterable[Mapping[str, Tensor]], arch: ArchConfig, head: Head
) -> dict[str, Tensor]:
    """By the sum of |weight * gradient| over all weights of a channel (Molchanov et al., arXiv:1906.10771).

    Args:
        gradients: of the loss of one batch after another, by the names of parameters. Over all images together
            the gradient of a trained network is about zero.
    """
    scores: dict[str, Tensor] = {}
    for batch in gradients:
        for name, gradient in batch.items():
            scores[name] = scores.get(name, 0) + (weights[name] * gradient).abs()
    return _order(group_sums(scores, arch, head))


def _order(sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {group: values.argsort(descending=True, stable=True).cpu() for group, values in sums.items()}


def group_sums(
    scores: Mapping[str, Tensor], arch: ArchConfig, head: Head, *, readers_only: bool = False
) -> dict[str, Tensor]:
    """The sum of the scores of each channel, by group. Buffers have none.

    Args:
        scores: by the names of tensors, in their shapes.
        readers_only: of the weights that read a channel, not of those that it comes from.
    """
    sizes = group_sizes(arch, head)
    sums = {group: torch.zeros(size) for group, size in sizes.items() if group not in UNCUT}
    for name, score in scores.items():
        if "running_" in name or not score.ndim:
            continue
        axes = list(enumerate(axis_groups(place_of(name), arch, score.ndim)))
        for axis, groups in axes[int(readers_only) :]:
            by_channel = score.detach().double().movedim(axis, 0).flatten(1).sum(1) if score.ndim > 1 else score
            for group, part in zip(groups, torch.split(by_channel, [sizes[g] for g in groups]), strict=True):
                if group in sums:
                    sums[group] = sums[group] + part.detach().cpu()
    return sums
