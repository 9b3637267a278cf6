"""Weights to start a training from: files of this package, ml-cvnets, timm and transformers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.head import ClassifierHead, Head
from mvit2_search.errors import SpecError, first_line
from mvit2_search.models import build_model
from mvit2_search.models.weights import classes_of, load_state_dict
from mvit2_search.train.checkpoint import AVERAGED, BEST, SUMS, checkpoint_fault, newest_checkpoint

_HEAD = "classifier."  # our names of its weights
_INSIDE = ("state_dict_ema", "state_dict", "model", "model_state_dict")  # where other programs keep the weights


def starting_weights(path: Path, arch: ArchConfig, head: Head) -> dict[str, Tensor]:
    """The state dict of `arch` by our names, without its head where that is for another number of classes.

    Args:
        path: safetensors, or a file of torch's, of which nothing but tensors is read; or the folder of a training.

    Raises:
        SpecError: it cannot be read, or has no weights of this network.
    """
    tensors = read_weights(path)
    try:
        classes = classes_of(tensors, arch)
        model = build_model(arch, ClassifierHead(classes))
        load_state_dict(model, tensors)
    except SpecError as err:
        raise SpecError(f"`init` {path}: {err}") from err
    kept = model.state_dict()
    return kept if classes == head.classes else {k: v for k, v in kept.items() if not k.startswith(_HEAD)}


def weights_file(path: Path) -> Path:
    """`path` itself; of the folder of a training or of a checkpoint, the file of its averaged weights.

    Raises:
        SpecError: the folder holds no checkpoint, or a damaged one.
    """
    if not path.is_dir():
        return path
    folder = path / BEST if (path / BEST).is_dir() else newest_checkpoint(path)[0] or path
    if not (folder / SUMS).exists():
        raise SpecError(f"`init` {path}: expected a file of weights, or the folder of a training")
    if fault := checkpoint_fault(folder):
        raise SpecError(f"`init` {fault}")
    return folder / f"{AVERAGED}.safetensors"


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """The state dict in a file; raises SpecError if there is none."""
    path = weights_file(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as err:
        raise SpecError(f"`init` {path}: no such file") from err
    except (OSError, SafetensorError, RuntimeError, EOFError, KeyError, ValueError, AttributeError) as err:
        raise SpecError(f"`init` {path}: cannot be read: {first_line(err)}") from err
    except Exception as err:  # pickle's own errors, of which torch documents none
        raise SpecError(f"`init` {path}: holds more than tensors, or is damaged: {first_line(err)}") from err
    for name in _INSIDE:
        if isinstance(found, dict) and isinstance(found.get(name), dict):
            found = found[name]
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise SpecError(f"`init` {path}: expected a state dict")
    return found
