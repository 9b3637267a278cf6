"""Which of these networks timm and transformers have, and how they are asked for them.

Each answer is the nearest network that the library has, so that whoever writes weights for it can say
which setting is in the way.
"""

from dataclasses import replace
from typing import Any

from mvit2_search.arch import ATTENTION_STAGES, PUBLISHED_WIDTHS, ArchConfig, expanded_channels, published_networks

_V2_CHANNELS, _V2_DIMS = 512, (128, 192, 256)  # of stage 5 and of the tokens, at width 1
_TRANSFORMERS_V1_LAYERS = (2, 4, 3)  # not in its configuration
_EXPAND_RATIOS = (2.0, 4.0, *(i / 8 for i in range(4, 65)))


def timm_network(arch: ArchConfig) -> tuple[str, ArchConfig]:
    """The name of timm's nearest network, and what it is."""
    family = arch.family
    nearest = min(
        (name for name in published_networks() if name.startswith(family)),
        key=lambda name: abs(published_networks()[name].stage_channels[-1] - arch.stage_channels[-1]),
    )
    version, _, size = nearest.partition("-")
    name = f"mobilevit_{size}" if family == "mobilevitv1" else f"{version}_{round(100 * float(size)):03}"
    return name, replace(published_networks()[nearest], image_size=arch.image_size)


def transformers_config(arch: ArchConfig, num_classes: int) -> dict[str, Any]:
    """`config.json` of the nearest network that transformers has."""
    labels = [f"LABEL_{i}" for i in range(num_classes)]
    blocks = [b for b, layers in enumerate(arch.attention_layers) if layers]
    config = {
        "image_size": arch.image_size,
        "patch_size": arch.patch_sizes[blocks[0]] if blocks else 2,
        "conv_kernel_size": arch.kernel_sizes[-1],
        "id2label": {str(i): label for i, label in enumerate(labels)},
        "label2id": {label: i for i, label in enumerate(labels)},
    }
    config |= _v1_settings(arch) if arch.family == "mobilevitv1" else _v2_settings(arch)
    for ratio in _EXPAND_RATIOS:
        if transformers_network(config | {"expand_ratio": ratio}).expanded_channels == arch.expanded_channels:
            return config | {"expand_ratio": ratio}
    return config | {"expand_ratio": _EXPAND_RATIOS[0]}


def transformers_network(config: dict[str, Any]) -> ArchConfig:
    """What transformers builds for `config`."""
    patch, image_size, ratio = config["patch_size"], config["image_size"], config["expand_ratio"]
    if config["model_type"] == "mobilevit":
        stem, *channels, final = config["neck_hidden_sizes"]
        dims = tuple(config["hidden_sizes"])
        return ArchConfig(
            stem_channels=stem,
            stage_channels=tuple(channels),
            expanded_channels=expanded_channels(stem, channels, (1, 3, 1, 1, 1), (ratio,) * len(channels)),
            attention_dims=dims,
            attention_layers=_TRANSFORMERS_V1_LAYERS,
            ffn_dims=tuple(int(dim * config["mlp_ratio"]) for dim in dims),
            attention=("multi_head", "multi_head", "multi_head"),
            patch_sizes=(patch,) * len(ATTENTION_STAGES),
            image_size=image_size,
            family="mobilevitv1",
            final_channels=final,
        )
    width = config["width_multiplier"]
    return ArchConfig.mobilevitv2(
        width,
        attention_width=[
            width * own / usual for own, usual in zip(config["base_attn_unit_dims"], _V2_DIMS, strict=True)
        ],
        attention_layers=config["n_attn_blocks"],
        ffn_multiplier=config["ffn_multiplier"],
        expand_ratio=ratio,
        patch_size=patch,
        image_size=image_size,
    )


def stretches(arch: ArchConfig) -> bool:
    """Whether a map is stretched to a multiple of its patch, which transformers' second version cannot."""
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
    ratios = [ffn / dim for ffn, dim in zip(arch.ffn_dims, arch.attention_dims, strict=True) if dim]
    return {
        "architectures": ["MobileViTForImageClassification"],
        "model_type": "mobilevit",
        "hidden_sizes": [max(4, dim) for dim in arch.attention_dims],
        "neck_hidden_sizes": [arch.stem_channels, *arch.stage_channels, arch.final_channels],
        "mlp_ratio": ratios[0] if ratios else 2.0,
    }


def _width(arch: ArchConfig) -> float:
    """The width multiplier with the fewest decimals that gives the convolutions' channels, or the nearest."""
    near: float = arch.stage_channels[-1] / _V2_CHANNELS
    for digits in range(1, 5):
        scale = 10.0**digits
        for i in range(int((near - 0.02) * scale), int((near + 0.02) * scale) + 2):
            if i > 0 and ArchConfig.mobilevitv2(i / scale).stage_channels == arch.stage_channels:
                return i / scale
    return min(PUBLISHED_WIDTHS, key=lambda width: abs(width - near))
