"""Reads weights of ml-cvnets, timm and transformers, and writes them for timm and transformers.

Reading is strict: every tensor of the network must be there, in its shape, and nothing else.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors.torch import save_file
from torch import Tensor

from mvit2_search.arch import ATTENTION_STAGES, ArchConfig
from mvit2_search.errors import SpecError
from mvit2_search.models.libraries import (
    refuse_for_timm,
    refuse_for_transformers,
    timm_arguments,
    transformers_config,
)
from mvit2_search.models.mobilevit import MobileViT

__all__ = ["foreign_names", "load_state_dict", "save_pretrained", "timm_arguments", "timm_state_dict"]

Scheme = Literal["ml-cvnets", "timm", "transformers"]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)


def load_state_dict(model: MobileViT, state_dict: Mapping[str, Tensor]) -> None:
    """Copy `state_dict` into `model`; its keys may be ours or those of ml-cvnets, timm or transformers.

    Raises:
        SpecError: keys of no known scheme, or the name of one that is missing, too many or of another shape.
    """
    names = _recognised(model, state_dict)
    wanted = [name for parts in names.values() for name in parts]
    if missing := [name for name in wanted if name not in state_dict]:
        raise SpecError(f"missing from the weights: {_some(missing)}")
    if extra := sorted(state_dict.keys() - set(wanted)):
        raise SpecError(f"weights that the network has no place for: {_some(extra)}")
    own = model.state_dict()
    model.load_state_dict({key: _joined(parts, state_dict, own[key]) for key, parts in names.items()})


def classes_of(state_dict: Mapping[str, Tensor], arch: ArchConfig) -> int:
    """How many classes the head of `state_dict` has; raises SpecError if it has none by a name that is known."""
    key = "classifier.linear.weight"
    for name in (key, *(name for scheme in SCHEMES for name in foreign_names(key, arch, scheme))):
        if isinstance(tensor := state_dict.get(name), Tensor) and tensor.ndim:
            return len(tensor)
    raise SpecError(f"weights of no known naming scheme (ours, {', '.join(SCHEMES)}): {_some(list(state_dict))}")


def timm_state_dict(model: MobileViT) -> dict[str, Tensor]:
    """The weights for `timm.create_model(name, num_classes=..., **settings)`, with `timm_arguments`' arguments.

    Raises:
        SpecError: timm has no such network; the message names the setting.
    """
    refuse_for_timm(model.arch)
    return _translated(model, "timm")


def save_pretrained(model: MobileViT, folder: Path) -> None:
    """Write `config.json`, `preprocessor_config.json` and `model.safetensors` for transformers.

    `MobileViTV2ForImageClassification.from_pretrained(folder)` reads them, or, for a network of the first
    version, `MobileViTForImageClassification`.

    Raises:
        SpecError: transformers has no such network; the message names the setting.
    """
    config = transformers_config(model.arch, model.classifier.linear.out_features)
    refuse_for_transformers(model.arch, config)
    folder.mkdir(parents=True, exist_ok=True)
    for name, written in (("config", config), ("preprocessor_config", _preprocessing(model.arch))):
        (folder / f"{name}.json").write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    save_file(_translated(model, "transformers"), folder / "model.safetensors", metadata={"format": "pt"})


def _recognised(model: MobileViT, state_dict: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """The names in the scheme that fits `state_dict` best, by our key."""
    ours = {key: [key] for key in model.state_dict()}
    schemes = [ours]
    schemes += [{key: foreign_names(key, model.arch, scheme) or [key] for key in ours} for scheme in SCHEMES]
    best = max(schemes, key=lambda names: sum(n in state_dict for parts in names.values() for n in parts))
    if not any(name in state_dict for parts in best.values() for name in parts):
        raise SpecError(
            f"weights of no known naming scheme (ours, {', '.join(SCHEMES)}): {_some(list(state_dict))}; give "
            "the state dict of a classifier itself, without a prefix such as module. before its names"
        )
    return best


def _joined(names: list[str], state_dict: Mapping[str, Tensor], own: Tensor) -> Tensor:
    """The tensors of `names` as one in the shape of `own`; a linear layer may be given as a 1x1 convolution."""
    shape = [own.shape[0] // len(names), *own.shape[1:]] if own.ndim else []
    as_convolution = [*shape, 1, 1] if own.ndim == 2 else shape
    for name in names:
        tensor = state_dict[name]
        if not isinstance(tensor, Tensor) or (own.is_floating_point() and not tensor.is_floating_point()):
            kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise SpecError(f"{name}: expected a tensor of {own.dtype}, found {kind}")
        if list(tensor.shape) not in (shape, as_convolution):
            raise SpecError(f"{name}: expected the shape {shape}, found {list(tensor.shape)}")
    return torch.cat([state_dict[name].reshape(shape) for name in names]) if shape else state_dict[names[0]]


def _translated(model: MobileViT, scheme: Scheme) -> dict[str, Tensor]:
    if "stem.1.running_mean" not in model.state_dict():
        raise SpecError("this network was folded for inference; write the one that it was made from")
    translated: dict[str, Tensor] = {}
    for key, tensor in model.state_dict().items():
        names = foreign_names(key, model.arch, scheme)
        if ".encoder.layers." in key and tensor.ndim == 2 and model.arch.family == "mobilevitv2":
            tensor = tensor[:, :, None, None]  # 1x1 convolutions in both libraries
        parts = tensor.chunk(len(names)) if tensor.ndim else [tensor]
        translated |= {name: part.contiguous().clone() for name, part in zip(names, parts, strict=True)}
    return translated


def _preprocessing(arch: ArchConfig) -> dict[str, Any]:
    """How transformers must prepare images, to give what `to_input` in `task.data` gives."""
    return {
        "image_processor_type": "MobileViTImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": arch.image_size},
        "do_center_crop": True,
        "crop_size": {"height": arch.image_size, "width": arch.image_size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_flip_channel_order": arch.channel_order == "BGR",
    }


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")


# The tables have a row per module: our name, and those in ml-cvnets, timm and transformers. A full name is the
# prefix of the stage, the prefix of the encoder layer, and the module. {s} is the stage from 0, {t} the stage
# from 1, {k} the block in the stage, {j} the encoder layer, {n} the number of encoder layers, and {residual} where
# transformers keeps a stage's inverted residuals. | separates the names of the parts where a library splits our
# tensor along its first axis.
_STAGE = {"ml-cvnets": "layer_{t}.{k}.", "timm": "stages.{s}.{k}.", "transformers": "{family}.encoder.layer.{s}."}
_LAYER = {"ml-cvnets": "global_rep.{j}.", "timm": "transformer.{j}.", "transformers": "transformer.layer.{j}."}
_CONV_AND_NORM = {  # ours are 0, the convolution, and 1, the norm after it
    "ml-cvnets": ("block.conv", "block.norm"),
    "timm": ("conv", "bn"),
    "transformers": ("convolution", "normalization"),
}
_BOTH = """
stem               conv_1                               stem           {family}.conv_stem
final              conv_1x1_exp                         final_conv     {family}.conv_1x1_exp
expand             block.exp_1x1                        conv1_1x1      {residual}.expand_1x1
depthwise          block.conv_3x3                       conv2_kxk      {residual}.conv_3x3
project            block.red_1x1                        conv3_1x1      {residual}.reduce_1x1
from_tokens        conv_proj                            conv_proj      conv_projection
fuse               fusion                               conv_fusion    fusion
encoder.norm       global_rep.{n}                       norm           layernorm
norm2              pre_norm_ffn.0                       norm2          layernorm_after
"""
_V2 = """
classifier.linear  classifier.1                         head.fc        classifier
local              local_rep.0                          conv_kxk       conv_kxk
to_tokens          local_rep.1.block.conv               conv_1x1       conv_1x1.convolution
norm1              pre_norm_attn.0                      norm1          layernorm_before
mixer.qkv          pre_norm_attn.1.qkv_proj.block.conv  attn.qkv_proj  attention.qkv_proj.convolution
mixer.out          pre_norm_attn.1.out_proj.block.conv  attn.out_proj  attention.out_proj.convolution
ffn.0              pre_norm_ffn.1.block.conv            mlp.fc1        ffn.conv1.convolution
ffn.2              pre_norm_ffn.3.block.conv            mlp.fc2        ffn.conv2.convolution
"""
_V1 = """
classifier.linear  classifier.fc                        head.fc        classifier
local              local_rep.conv_3x3                   conv_kxk       conv_kxk
to_tokens          local_rep.conv_1x1.block.conv        conv_1x1       conv_1x1.convolution
norm1              pre_norm_mha.0                       norm1          layernorm_before
mixer.qkv          pre_norm_mha.1.qkv_proj              attn.qkv       attention.attention.query|key|value
mixer.out          pre_norm_mha.1.out_proj              attn.proj      attention.output.dense
ffn.0              pre_norm_ffn.1                       mlp.fc1        intermediate.dense
ffn.2              pre_norm_ffn.4                       mlp.fc2        output.dense
"""
_OURS = re.compile(r"(?:stages\.(\d+)\.(\d+)\.)?(?:encoder\.layers\.(\d+)\.)?(.+)")


def foreign_names(key: str, arch: ArchConfig, scheme: Scheme) -> list[str]:
    """The names of our tensor `key` in `scheme`: several where it splits the tensor, none where it lacks it."""
    found = _OURS.fullmatch(key)
    assert found is not None
    stage, block, layer, rest = found.groups()
    modules = _modules(_BOTH + (_V1 if arch.family == "mobilevitv1" else _V2), scheme)
    module = next((module for module in modules if rest.startswith(f"{module}.")), None)
    if module is None:
        return []
    first, *others = modules[module].split("|")
    theirs = [first, *(f"{first.rpartition('.')[0]}.{other}" for other in others)]
    prefix = (_STAGE[scheme] if stage else "") + (_LAYER[scheme] if layer else "")
    part, _, leaf = rest.removeprefix(f"{module}.").rpartition(".")
    if part:  # 0 or 1
        leaf = f"{_CONV_AND_NORM[scheme][int(part)]}.{leaf}"
    placeholders = _placeholders(arch, int(stage or 0), block, layer)
    return [(prefix + name).format(**placeholders) + f".{leaf}" for name in theirs]


def _modules(table: str, scheme: Scheme) -> dict[str, str]:
    """Names of modules in `scheme` by our own."""
    rows = [line.split() for line in table.splitlines() if line]
    return {row[0]: row[1 + SCHEMES.index(scheme)] for row in rows}


def _placeholders(arch: ArchConfig, stage: int, block: str | None, layer: str | None) -> dict[str, object]:
    attention = stage + 1 in ATTENTION_STAGES
    return {
        "s": stage,
        "t": stage + 1,
        "k": block,
        "j": layer,
        "n": arch.attention_layers[stage - 2] if attention else 0,
        "family": "mobilevit" if arch.family == "mobilevitv1" else "mobilevitv2",
        "residual": "downsampling_layer" if attention else f"layer.{block}",
    }
