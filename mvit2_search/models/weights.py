"""Weights of these networks as others name them: reading ml-cvnets, timm and transformers, writing the
last two.

Reading is strict: every tensor of the network must be there, in its shape, and nothing else.
"""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from mvit2_search.arch import ArchConfig
from mvit2_search.errors import SpecError
from mvit2_search.models.elsewhere import (
    refuse_for_timm,
    stretches,
    timm_arguments,
    transformers_config,
    transformers_network,
)
from mvit2_search.models.mobilevit import MobileViT
from mvit2_search.models.names import SCHEMES, Scheme, foreign_names

__all__ = ["load_state_dict", "save_pretrained", "timm_arguments", "timm_state_dict"]

_FIRST = ("family", "attention", "attention_layers")  # settings that explain differences in others


def load_state_dict(model: MobileViT, state_dict: Mapping[str, Tensor]) -> None:
    """Copy `state_dict` into `model`; its keys may be ours or those of ml-cvnets, timm or transformers.

    Raises:
        SpecError: keys of no known scheme, or one that is missing, too many or of another shape, by name.
    """
    names = _recognised(model, state_dict)
    wanted = [name for parts in names.values() for name in parts]
    if missing := [name for name in wanted if name not in state_dict]:
        raise SpecError(f"missing from the weights: {_some(missing)}")
    if extra := sorted(state_dict.keys() - set(wanted)):
        raise SpecError(f"weights that the network has no place for: {_some(extra)}")
    own = model.state_dict()
    model.load_state_dict({key: _joined(parts, state_dict, own[key]) for key, parts in names.items()})


def timm_state_dict(model: MobileViT) -> dict[str, Tensor]:
    """The weights for `timm.create_model(name, num_classes=..., **settings)`, which `timm_arguments` gives.

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
    classes = model.classifier.linear.out_features
    config = transformers_config(model.arch, classes)
    _refuse_differences("transformers", model.arch, transformers_network(config))
    if stretches(model.arch) and model.arch.family == "mobilevitv2":
        raise SpecError(
            f"transformers cannot express image_size {model.arch.image_size}: it does not stretch maps "
            "that the patches do not divide"
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / "preprocessor_config.json").write_text(
        json.dumps(_preprocessing(model.arch), indent=2) + "\n", encoding="utf-8"
    )
    save_file(_translated(model, "transformers"), folder / "model.safetensors", metadata={"format": "pt"})


def _recognised(model: MobileViT, state_dict: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Our keys, and what the scheme that fits best calls each."""
    ours = {key: [key] for key in model.state_dict()}
    schemes = [ours, *({key: _names(key, model.arch, scheme) for key in ours} for scheme in SCHEMES)]
    best = max(schemes, key=lambda names: sum(n in state_dict for parts in names.values() for n in parts))
    if not any(name in state_dict for parts in best.values() for name in parts):
        raise SpecError(
            f"weights of no known naming scheme (ours, {', '.join(SCHEMES)}): {_some(list(state_dict))}; give "
            "the state dict of a classifier itself, without a prefix such as module. before its names"
        )
    return best


def _names(key: str, arch: ArchConfig, scheme: Scheme) -> list[str]:
    return foreign_names(key, arch, scheme) or [key]


def _joined(names: list[str], state_dict: Mapping[str, Tensor], own: Tensor) -> Tensor:
    """The tensor in our shape; a linear map may come as a 1x1 convolution."""
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
            tensor = tensor[:, :, None, None]  # which has 1x1 convolutions there
        parts = tensor.chunk(len(names)) if tensor.ndim else [tensor]
        translated |= {name: part.contiguous().clone() for name, part in zip(names, parts, strict=True)}
    return translated


def _preprocessing(arch: ArchConfig) -> dict[str, Any]:
    """What transformers must do to images, so that they arrive as `data.to_input` makes them."""
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


def _refuse_differences(library: str, arch: ArchConfig, theirs: ArchConfig) -> None:
    names = [*_FIRST, *(field.name for field in fields(arch) if field.name not in _FIRST)]
    for name in names:
        ours, nearest = getattr(arch, name), getattr(theirs, name)
        if ours != nearest:
            raise SpecError(f"{library} cannot express {name} {ours}; the nearest that it has is {nearest}")


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
