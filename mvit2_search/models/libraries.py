"""Which of these networks timm and transformers have, and the arguments with which they build them.

transformers builds a network from a configuration. `transformers_config` gives that of the nearest network, and
`refuse_for_transformers` names the setting in which the nearest one differs.
"""

import math
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

from mvit2_search.arch import (
    ATTENTION_STAGES,
    PUBLISHED_WIDTHS,
    STAGES,
    ArchConfig,
    expanded_channels,
    published_networks,
)
from mvit2_search.errors import BackendUnavailable, SpecError

_V2_CHANNELS, _V2_DIMS = 512, (128, 192, 256)  # of stage 5 and of the tokens, at width 1
_NAMED_FIRST = ("family", "attention", "attention_layers")  # settings that explain differences in others
_EXPAND_RATIOS = (2.0, 4.0, *(i / 100 for i in range(5, 2001)))


def timm_arguments(arch: ArchConfig) -> tuple[str, dict[str, Any]]:
    """Name and further arguments with which `timm.create_model` builds this network.

    A published network has a name in timm and needs no arguments. Any other is a published one with other blocks,
    which are timm's own objects.

    Raises:
        SpecError: timm has no such network.
        BackendUnavailable: the network has no name in timm, and timm is not installed.
    """
    refuse_for_timm(arch)
    is_first = arch.family == "mobilevitv1"
    for name, network in published_networks().items():
        if replace(network, image_size=arch.image_size) == arch:
            size = name.partition("-")[2]
            return f"mobilevit_{size}" if is_first else f"mobilevitv2_{round(100 * float(size)):03}", {}
    name = "mobilevit_s" if is_first else "mobilevitv2_100"
    stages = tuple(tuple(_timm_stage(arch, i)) for i in range(STAGES))
    return name, {"stem_chs": arch.stem_channels, "blocks": stages, "num_features": arch.final_channels}


def refuse_for_timm(arch: ArchConfig) -> None:
    """Raise SpecError for what timm cannot build: a mixer that is not the paper's, or widths not in eights."""
    usual = "multi_head" if arch.family == "mobilevitv1" else "separable"
    stages = zip(arch.attention, arch.attention_layers, strict=True)
    if any(attention != usual for attention, layers in stages if layers):
        raise SpecError(f"timm cannot express attention {arch.attention}; it has {usual} in {arch.family}")
    if any(hidden % 8 for row in arch.expanded_channels for hidden in row):
        raise SpecError(f"timm cannot express expanded_channels {arch.expanded_channels}; it has multiples of 8")


def _timm_stage(arch: ArchConfig, i: int) -> Iterator[Any]:
    """The blocks of stage i (from 0) as timm's configurations."""
    try:
        from timm.models.byobnet import ByoBlockCfg
    except ImportError as err:
        raise BackendUnavailable("timm has no name for this network: pip install timm to describe it") from err
    channels, kernel = arch.stage_channels[i], arch.kernel_sizes[i]
    inputs = arch.stage_channels[i - 1] if i else arch.stem_channels
    for j, hidden in enumerate(arch.expanded_channels[i]):
        yield ByoBlockCfg(
            type="bottle",
            d=1,
            c=channels,
            s=2 if i and not j else 1,
            gs=1,
            br=hidden / (channels if j else inputs),
            block_kwargs={"bottle_in": True, "linear_out": True, "kernel_size": kernel},
        )
    b = i + 1 - ATTENTION_STAGES[0]
    if b >= 0 and arch.attention_layers[b]:
        settings = {
            "transformer_dim": arch.attention_dims[b],
            "transformer_depth": arch.attention_layers[b],
            "mlp_ratio": (arch.ffn_dims[b] + 0.5) / arch.attention_dims[b],  # timm rounds down
            "patch_size": arch.patch_sizes[b],
            "kernel_size": kernel,
        }
        kind, groups = ("mobilevit", None) if arch.family == "mobilevitv1" else ("mobilevit2", 1)
        yield ByoBlockCfg(type=kind, d=1, c=channels, s=1, gs=groups, block_kwargs=settings)


def refuse_for_transformers(arch: ArchConfig, config: dict[str, Any]) -> None:
    """Raise SpecError, with the setting, where transformers builds another network for `config` than `arch`."""
    nearest = transformers_network(config)
    for name in dict.fromkeys((*_NAMED_FIRST, *(field.name for field in fields(arch)))):
        own, other = getattr(arch, name), getattr(nearest, name)
        if own != other:
            raise SpecError(f"transformers cannot express {name} {own}; the nearest that it has is {other}")
    if arch.family == "mobilevitv2" and _stretches(arch):
        raise SpecError(
            f"transformers cannot express image_size {arch.image_size}: it does not stretch maps "
            "that the patches do not divide"
        )


def transformers_config(arch: ArchConfig, num_classes: int) -> dict[str, Any]:
    """`config.json` of the nearest network that transformers has."""
    labels = [f"LABEL_{i}" for i in range(num_classes)]
    blocks = [b for b, layers in enumerate(arch.attention_layers) if layers]
    config = {
        "image_size": arch.image_size,
        "patch_size": arch.patch_sizes[blocks[0]] if blocks else 2,
        "id2label": {str(i): label for i, label in enumerate(labels)},
        "label2id": {label: i for i, label in enumerate(labels)},
    }
    config |= _v1_settings(arch) if arch.family == "mobilevitv1" else _v2_settings(arch)
    for ratio in _EXPAND_RATIOS:
        if transformers_network(config | {"expand_ratio": ratio}).expanded_channels == arch.expanded_channels:
            return config | {"expand_ratio": ratio}
    return config | {"expand_ratio": _EXPAND_RATIOS[0]}


def transformers_network(config: dict[str, Any]) -> ArchConfig:
    """The network that transformers builds for `config`."""
    patch, image_size, ratio = config["patch_size"], config["image_size"], config["expand_ratio"]
    if config["model_type"] == "mobilevit":
        stem, *channels, final = config["neck_hidden_sizes"]
        dims = tuple(config["hidden_sizes"])
        return replace(
            ArchConfig.mobilevitv1("s"),  # the number of its layers is not in the configuration
            stem_channels=stem,
            stage_channels=tuple(channels),
            expanded_channels=expanded_channels(stem, channels, (1, 3, 1, 1, 1), (ratio,) * len(channels)),
            attention_dims=dims,
            ffn_dims=tuple(int(dim * config["mlp_ratio"]) for dim in dims),
            patch_sizes=(patch,) * len(ATTENTION_STAGES),
            image_size=image_size,
            final_channels=final,
        )
    width, pairs = config["width_multiplier"], zip(config["base_attn_unit_dims"], _V2_DIMS, strict=True)
    return ArchConfig.mobilevitv2(
        width,
        attention_width=[width * own / usual for own, usual in pairs],
        attention_layers=config["n_attn_blocks"],
        ffn_multiplier=config["ffn_multiplier"],
        expand_ratio=ratio,
        patch_size=patch,
        image_size=image_size,
    )


def _stretches(arch: ArchConfig) -> bool:
    """Whether any map is stretched to a multiple of its patch."""
    stages = zip(ATTENTION_STAGES, arch.patch_sizes, arch.attention_layers, strict=True)
    return any(layers and -(-arch.image_size // 2**stage) % patch for stage, patch, layers in stages)


def _v2_settings(arch: ArchConfig) -> dict[str, Any]:
    width = _width(arch)
    dims = [round(own / width) or usual for own, usual in zip(arch.attention_dims, _V2_DIMS, strict=True)]
    multipliers = [ffn / dim for ffn, dim in zip(arch.ffn_dims, arch.attention_dims, strict=True) if dim]
    return {
        "architectures": ["MobileViTV2ForImageClassification"],
        "model_type": "mobilevitv2",
        "width_multiplier": width,
        "base_attn_unit_dims": dims,
        "n_attn_blocks": [max(1, layers) for layers in arch.attention_layers],
        "ffn_multiplier": max(1, round(max(multipliers))) if multipliers else 2,
    }


def _v1_settings(arch: ArchConfig) -> dict[str, Any]:
    pairs = [(ffn / dim, ffn, dim) for ffn, dim in zip(arch.ffn_dims, arch.attention_dims, strict=True) if dim]
    ratio, ffn, dim = max(pairs, default=(2.0, 2, 1))
    final = arch.final_channels or 4 * arch.stage_channels[-1]  # transformers always has one
    return {
        "architectures": ["MobileViTForImageClassification"],
        "model_type": "mobilevit",
        "hidden_sizes": [max(4, own) for own in arch.attention_dims],
        "neck_hidden_sizes": [arch.stem_channels, *arch.stage_channels, final],
        "mlp_ratio": ratio if int(dim * ratio) == ffn else math.nextafter(ratio, math.inf),
    }


def _width(arch: ArchConfig) -> float:
    """The multiplier with the fewest decimals that gives the stages' channels, or the nearest published one."""
    near: float = arch.stage_channels[-1] / _V2_CHANNELS
    for digits in range(1, 5):
        scale = 10.0**digits
        for i in range(int((near - 0.02) * scale), int((near + 0.02) * scale) + 2):
            if i > 0 and ArchConfig.mobilevitv2(i / scale).stage_channels == arch.stage_channels:
                return i / scale
    return min(PUBLISHED_WIDTHS, key=lambda width: abs(width - near))
