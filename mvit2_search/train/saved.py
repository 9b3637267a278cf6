"""A trainer as the tensors and the record of a checkpoint, and back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mvit2_search.arch.head import ClassifierHead
from mvit2_search.errors import StorageError, first_line
from mvit2_search.models import MobileViT, build_model
from mvit2_search.records import TrainingState
from mvit2_search.records.codec import NO_RECORD, from_json
from mvit2_search.train.checkpoint import AVERAGED, MODEL, OPTIMIZER, Tensors, read_state, read_tensors
from mvit2_search.train.loop import Trainer


def saved_state(path: Path) -> TrainingState:
    """Of a checkpoint that has been checked; raises StorageError if another version of this program wrote it."""
    try:
        return from_json(read_state(path), TrainingState)
    except NO_RECORD as err:
        raise StorageError(
            f"{path}: written by another version of this program: {first_line(err)}; go on with that one, or give "
            "another `out`"
        ) from err


def trainer_tensors(trainer: Trainer) -> dict[str, Tensors]:
    """By the name of their file."""
    return {
        MODEL: trainer.model.state_dict(),
        AVERAGED: trainer.averaged_model.state_dict(),
        OPTIMIZER: optimizer_tensors(trainer.optimizer),
    }


def restore(trainer: Trainer, path: Path, state: TrainingState) -> None:
    """Put the trainer where it was when it was saved."""
    trainer.model.load_state_dict(read_tensors(path, MODEL))
    trainer.averaged_model.load_state_dict(read_tensors(path, AVERAGED))
    trainer.averaged.steps = state.averaged
    load_optimizer_tensors(trainer.optimizer, read_tensors(path, OPTIMIZER))
    now = trainer.scaler.state_dict()
    before = {key: type(now[key])(value) for key, value in state.scaler.items() if key in now}
    trainer.scaler.load_state_dict(now | before)
    trainer.done = state.done


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of an optimiser, by the number of each weight and the name of the tensor."""
    kept: dict[int, dict[str, Any]] = optimizer.state_dict()["state"]
    return {
        f"{number}.{name}": one for number, row in kept.items() for name, one in row.items() if one is not None
    }


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """What `optimizer_tensors` gave; its settings stay."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    rows: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, _, name = key.partition(".")
        weight = weights[int(number)]
        if tensor.shape == weight.shape:  # in its memory layout, which fused optimisers take for granted
            tensor = torch.empty_like(weight).copy_(tensor)
        rows.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict({"state": rows, "param_groups": optimizer.state_dict()["param_groups"]})


def trained_network(path: Path) -> tuple[MobileViT, TrainingState]:
    """The averaged weights of a checkpoint that has been checked, as a network, and the training's state."""
    state = saved_state(path)
    model = build_model(state.inputs.arch, ClassifierHead(len(state.inputs.classes)))
    model.load_state_dict(read_tensors(path, AVERAGED))
    return model.eval(), state
