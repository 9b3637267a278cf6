"""Groups of channels, which can only be kept or left together, and where they are in each tensor of a network.

Groups are the colours of the input, the outputs of the stem and of each stage, what the inverted residuals of a
stage pass on (tied by their residuals), the inner channels of each of them, the tokens of a stage (tied by the
residuals of its layers), the keys and values of a layer with the columns that read their product, and the inner
units of its feed-forward part. The scheme is that of structural pruning (Fang et al., arXiv:2301.12900).
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import torch

from mvit2_search.arch import ATTENTION_STAGES, STAGES, ArchConfig
from mvit2_search.arch.head import Head
from mvit2_search.models.mobilevit import MobileViT

# A row per module: the groups of its outputs, which are the first axis of its tensors, and of its inputs, the
# second. | stands between groups that follow one another on the same axis.
_TABLE = """
stem               stem                   colours
expand             hidden                 inputs
depthwise          hidden
project            map                    hidden
local              map
to_tokens          tokens                 map
norm1              tokens
mixer.qkv          score|context|context  tokens
mixer.out          tokens                 context
norm2              tokens
ffn.0              ffn                    tokens
ffn.2              tokens                 ffn
encoder.norm       tokens
from_tokens        out                    tokens
final              final                  last
classifier.linear  classes                features
"""
_GROUPS: dict[str, list[list[str]]] = {
    module: [groups.split("|") for groups in axes]
    for module, *axes in (line.split() for line in _TABLE.strip().splitlines())
}
_NAME = re.compile(r"(?:stages\.(\d+)\.(\d+)\.)?(?:encoder\.layers\.(\d+)\.)?(.+)")

UNCUT = ("colours", "score", "classes")  # groups that are the same in all networks


class Place(NamedTuple):
    """Where a tensor is in a network: stage, block in it and layer of the encoder count from 0."""

    stage: int
    block: int
    layer: int
    module: str  # of `_TABLE`


def place_of(name: str) -> Place:
    """Of the parameter or buffer that a state dict calls `name`."""
    found = _NAME.fullmatch(name)
    assert found is not None
    stage, block, layer = (int(number or 0) for number in found.groups()[:3])
    return Place(stage, block, layer, next(module for module in _GROUPS if found[4].startswith(f"{module}.")))


def axis_groups(place: Place, arch: ArchConfig, axes: int) -> list[list[str]]:
    """The groups along the first axis and, where it has channels too, the second of a tensor of so many axes."""
    return [[_full_name(group, place, arch) for group in groups] for groups in _GROUPS[place.module][:axes]]


def _full_name(group: str, place: Place, arch: ArchConfig) -> str:
    s, last = place.stage, f"stages.{STAGES - 1}.out"
    before = f"stages.{s - 1}.out" if s else "stem"
    names = {
        "inputs": map_name(s, arch) if place.block else before,
        "hidden": f"stages.{s}.{place.block}.hidden",
        "map": map_name(s, arch),
        "out": f"stages.{s}.out",
        "tokens": f"stages.{s}.tokens",
        "context": f"stages.{s}.layers.{place.layer}.context",
        "ffn": f"stages.{s}.layers.{place.layer}.ffn",
        "last": last,
        "features": "final" if arch.final_channels else last,
    }
    return names.get(group, group)


def map_name(stage: int, arch: ArchConfig) -> str:
    """The group that the inverted residuals of a stage pass on.

    It is that of the stage's outputs, unless a MobileViT block, which has no residual, comes between.
    """
    return f"stages.{stage}.map" if layers_of(arch, stage) else f"stages.{stage}.out"


def layers_of(arch: ArchConfig, stage: int) -> int:
    """Attention layers of a stage, from 0."""
    return arch.attention_layers[stage - 2] if stage + 1 in ATTENTION_STAGES else 0


def group_sizes(arch: ArchConfig, head: Head) -> dict[str, int]:
    """Channels of each group, by its name."""
    sizes = {"colours": 3, "score": 1, "classes": head.classes, "stem": arch.stem_channels}
    for s, channels in enumerate(arch.stage_channels):
        sizes |= {map_name(s, arch): channels, f"stages.{s}.out": channels}
        sizes |= {f"stages.{s}.{k}.hidden": hidden for k, hidden in enumerate(arch.expanded_channels[s])}
        if layers := layers_of(arch, s):
            dim, ffn_dim = arch.attention_dims[s - 2], arch.ffn_dims[s - 2]
            sizes[f"stages.{s}.tokens"] = dim
            sizes |= {f"stages.{s}.layers.{j}.context": dim for j in range(layers)}
            sizes |= {f"stages.{s}.layers.{j}.ffn": ffn_dim for j in range(layers)}
    return sizes | ({"final": arch.final_channels} if arch.final_channels else {})


def skeleton(arch: ArchConfig, head: Head) -> MobileViT:
    """A network without memory for its weights (on torch's device "meta"); draws no random numbers."""
    with torch.device("meta"):
        return MobileViT(arch, head)


@lru_cache(maxsize=256)
def tensor_axes(arch: ArchConfig, head: Head) -> Mapping[str, int]:
    """How many axes each parameter and buffer has, by its name."""
    return {name: tensor.ndim for name, tensor in skeleton(arch, head).state_dict().items()}
