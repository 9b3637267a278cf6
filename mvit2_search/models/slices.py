"""Any network of a space as a slice of its largest one: which rows and columns of which tensor it takes.

A network with n channels in a group (`models.groups`) takes the first n in the order of the group. Layers and
inverted residuals are the first ones of their stage, and a kernel of 3 is the centre of one of 5. The method is
that of once-for-all networks (Cai et al., arXiv:1908.09791) and BigNAS (Yu et al., arXiv:2003.11142).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, zip_longest
from typing import Any

import torch
from torch import Tensor

from mvit2_search.arch import ATTENTION_STAGES, ArchConfig
from mvit2_search.arch.head import Head
from mvit2_search.errors import SpecError
from mvit2_search.models.groups import Place, axis_groups, group_sizes, place_of, skeleton, tensor_axes
from mvit2_search.models.importance import Order
from mvit2_search.models.mobilevit import MobileViT

_KERNELS = ("depthwise", "local")
_AFTER_RESIDUALS = ("local", "to_tokens", "norm", "mixer", "ffn", "encoder", "from_tokens")  # in a MobileViT block


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """What a tensor of a slice takes of the largest network.

    Attributes:
        source: the name of its tensor.
        indices: taken along the first axes; None for all, as they are.
        margin: left out on each side of a kernel.
    """

    source: str
    indices: tuple[Tensor | None, ...]
    margin: int

    def of(self, tensor: Tensor) -> Tensor:
        """That part of a tensor; gradients flow back to it."""
        for axis, index in enumerate(self.indices):
            if index is not None:
                tensor = tensor.index_select(axis, index.to(tensor.device))
        inner = slice(self.margin, -self.margin or None)
        return tensor[..., inner, inner] if self.margin else tensor


def sliced(
    weights: Mapping[str, Tensor],
    maximal: ArchConfig,
    candidate: ArchConfig,
    head: Head,
    order: Order | None = None,
) -> dict[str, Tensor]:
    """The state dict of `candidate` as parts of that of `maximal`; without what `weights` does not have.

    Differentiable: the outputs of `torch.func.functional_call(skeleton(candidate, head), sliced(...), x)` have
    gradients in the weights. A tensor that is taken whole is the same tensor, no copy. `maximal` as a slice of
    itself is the same function, with its channels in that order.

    Raises:
        SpecError: `candidate` is no slice of `maximal`, and why.
    """
    table = slicing_table(maximal, candidate, head, order) if order else _unsorted(maximal, candidate, head)
    return {name: cut.of(weights[cut.source]) for name, cut in table.items() if cut.source in weights}


def extract(
    weights: Mapping[str, Tensor],
    maximal: ArchConfig,
    candidate: ArchConfig,
    head: Head,
    order: Order | None = None,
) -> MobileViT:
    """A slice as a network of its own, on the device of the weights, in evaluation mode; see `sliced`."""
    model = skeleton(candidate, head)
    parts = sliced(weights, maximal, candidate, head, order)
    model.load_state_dict({name: part.detach().clone() for name, part in parts.items()}, assign=True)
    return model.requires_grad_().eval()


def slicing_table(maximal: ArchConfig, candidate: ArchConfig, head: Head, order: Order) -> dict[str, Cut]:
    """Where each parameter and buffer of `candidate` comes from, by its name; raises SpecError as `sliced`."""
    check_slice(maximal, candidate)
    known, sizes = group_sizes(maximal, head), group_sizes(candidate, head)
    table = {}
    for name, axes in tensor_axes(candidate, head).items():
        place = place_of(name)
        indices = [_indices(groups, known, sizes, order) for groups in axis_groups(place, candidate, axes)]
        table[name] = Cut(
            source=renamed(name, candidate, maximal),
            indices=tuple(indices),
            margin=_margin(place, maximal, candidate) if axes == 4 else 0,
        )
    return table


@lru_cache(maxsize=256)  # a training asks for the same ones again and again
def _unsorted(maximal: ArchConfig, candidate: ArchConfig, head: Head) -> dict[str, Cut]:
    return slicing_table(maximal, candidate, head, {})


def _indices(
    groups: Sequence[str], known: Mapping[str, int], sizes: Mapping[str, int], order: Order
) -> Tensor | None:
    """What is taken along an axis that holds the channels of these groups, one group after the other."""
    if all(known[group] == sizes[group] and group not in order for group in groups):
        return None
    parts, start = [], 0
    for group in groups:
        parts.append(start + order.get(group, torch.arange(known[group]))[: sizes[group]])
        start += known[group]
    return torch.cat(parts)


def _margin(place: Place, maximal: ArchConfig, candidate: ArchConfig) -> int:
    if place.module not in _KERNELS:
        return 0
    return (maximal.kernel_sizes[place.stage] - candidate.kernel_sizes[place.stage]) // 2


def renamed(name: str, arch: ArchConfig, other: ArchConfig) -> str:
    """What `other` calls the tensor of `arch`: a MobileViT block comes after all inverted residuals of a stage."""
    place = place_of(name)
    if not place.module.startswith(_AFTER_RESIDUALS):
        return name
    _, stage, _, rest = name.split(".", 3)
    return f"stages.{stage}.{len(other.expanded_channels[place.stage])}.{rest}"


def check_slice(maximal: ArchConfig, candidate: ArchConfig) -> None:
    """Raises SpecError, with the reason, where `candidate` is no slice of `maximal`."""
    if fault := slice_fault(maximal, candidate):
        raise SpecError(f"network {candidate.key} cannot inherit weights: {fault}")


def slice_fault(maximal: ArchConfig, candidate: ArchConfig) -> str | None:
    """Why `candidate` is no slice of `maximal`, if it is none."""
    kinds = chain(_kind_faults(maximal), _kind_faults(candidate))
    return next(chain(kinds, _structure_faults(maximal, candidate), _size_faults(maximal, candidate)), None)


def _kind_faults(arch: ArchConfig) -> Iterator[str]:
    if arch.family != "mobilevitv2":
        yield f"`family` {arch.family}: only networks of mobilevitv2 are cut; train it by itself"
    if others := [mixer for mixer in arch.attention if mixer != "separable"]:
        yield f"`attention` {others[0]}: only separable attention is cut; leave it to short training"


def _structure_faults(maximal: ArchConfig, candidate: ArchConfig) -> Iterator[str]:
    for stage, most, layers in zip(
        ATTENTION_STAGES, maximal.attention_layers, candidate.attention_layers, strict=True
    ):
        if bool(most) != bool(layers):
            yield (
                f"`attention_layers` {layers} in stage {stage}, where the weights have {most}: a stage without "
                "attention is no part of one with it; leave it to short training"
            )
    if _stage1_residual(maximal) != _stage1_residual(candidate):
        yield (
            "one of both has as many outputs of stage 1 as of the stem, which switches a residual on; leave it to "
            "short training"
        )
    if bool(maximal.final_channels) != bool(candidate.final_channels):
        yield "`final_channels`: only one of both has a convolution before the pooling"


def _stage1_residual(arch: ArchConfig) -> bool:
    """All other residuals are on or off at any width."""
    return arch.stem_channels == arch.stage_channels[0]


def _size_faults(maximal: ArchConfig, candidate: ArchConfig) -> Iterator[str]:
    for name, most, value in _sizes_of_both(maximal, candidate):
        if value > most:
            yield f"`{name}` {value}: the weights have {most} at most"


_SCALARS = ("stem_channels", "final_channels")
_LISTS = ("stage_channels", "kernel_sizes", "attention_layers", "attention_dims", "ffn_dims")


def _sizes_of_both(one: ArchConfig, other: ArchConfig) -> Iterator[tuple[str, int, int]]:
    """The name and both values of each number that may be cut; 0 where there is no such part."""
    for name in _SCALARS:
        yield name, getattr(one, name), getattr(other, name)
    for name in _LISTS:
        for values in zip(getattr(one, name), getattr(other, name), strict=True):
            yield name, *values
    for rows in zip(one.expanded_channels, other.expanded_channels, strict=True):
        for values in zip_longest(*rows, fillvalue=0):
            yield "expanded_channels", *values


def covering(first: ArchConfig, *others: ArchConfig) -> ArchConfig:
    """The smallest network that all of them could be slices of: the largest of each number.

    Patches and input size, which no weight depends on, are those of `first`.
    """
    archs = (first, *others)
    largest: dict[str, Any] = {name: max(getattr(arch, name) for arch in archs) for name in _SCALARS}
    largest |= {
        name: tuple(map(max, zip(*(getattr(arch, name) for arch in archs), strict=True))) for name in _LISTS
    }
    stages = zip(*(arch.expanded_channels for arch in archs), strict=True)
    largest["expanded_channels"] = tuple(tuple(map(max, zip_longest(*rows, fillvalue=0))) for rows in stages)
    return replace(first, **largest)
