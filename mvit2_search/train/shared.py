"""Training weights that many networks share: each step the largest, the smallest and some drawn between learn.

The largest learns from the labels, and from a teacher if there is one; the others from what the largest says of
the same images: the sandwich rule and in-place distillation (Yu & Huang, arXiv:1903.05134), as in BigNAS. Which
networks a step draws follows from the seed and the step alone, so a training that is killed goes on to the same
weights.
"""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.head import Head
from mvit2_search.errors import SpecError, StorageError, StudyConflict, first_line
from mvit2_search.models import MobileViT
from mvit2_search.models.groups import skeleton
from mvit2_search.models.slices import sliced
from mvit2_search.records import Recipe, TrainingInputs, TrainingState
from mvit2_search.system.files import write_atomically
from mvit2_search.task.data.dataset import Dataset
from mvit2_search.task.data.full import FullData
from mvit2_search.train.checkpoint import AVERAGED, file_sha256, newest_checkpoint, read_tensors
from mvit2_search.train.family import Family
from mvit2_search.train.full import TrainingListener, new_trainer, train_fully
from mvit2_search.train.job import TrainingJob
from mvit2_search.train.loader import Batch
from mvit2_search.train.loop import Execution, Trainer
from mvit2_search.train.plan import resolve
from mvit2_search.train.proxies import Taught
from mvit2_search.train.saved import saved_state
from mvit2_search.train.taught import KeptOutputs

FAMILY = "family.json"

_NETWORKS = 100  # what is drawn: none of the numbers that `train.loader` has for it
_DRAWN = 2  # networks in a step, beside the largest and the smallest
_LEAST_TESTED = 1_000  # images, if there are


class SharedTrainer(Trainer):
    """Trains the largest network of a family, and with it its slices.

    Args:
        trainer: of the largest network alone, wherever it stands; not to be used any more.
    """

    def __init__(self, trainer: Trainer, family: Family) -> None:
        vars(self).update(vars(trainer))
        self._family, self._heard = family, _Heard(self._network)
        self._network = self._heard

    def networks(self, step: int) -> tuple[ArchConfig, ...]:
        """Those that learn from the largest in a step, the same in all processes."""
        generator = random.Random(int(np.random.default_rng((self._seed, _NETWORKS, step)).integers(2**62)))
        return (self._family.smallest, *(self._family.draw(generator) for _ in range(_DRAWN)))

    def _backward(self, part: Batch, targets_BK: Tensor | None) -> Tensor:
        """The loss is that of the largest network; the gradients of the others are added to its own."""
        loss = super()._backward(part, targets_BK)
        x_BCHW, outputs_BK = self._heard.last()
        for arch in self.networks(self.done):
            self._teach(arch, x_BCHW, outputs_BK.float().softmax(1))
        self._execution.ranks.average(weight.grad for weight in self.model.parameters() if weight.grad is not None)
        return loss

    def _teach(self, arch: ArchConfig, x_BCHW: Tensor, targets_BK: Tensor) -> None:
        head = self._task.head
        slices = sliced(dict(self.model.named_parameters()), self._family.maximal, arch, head)
        with self._execution.autocast():
            outputs_BK = functional_call(_frame(arch, head), slices, x_BCHW)
        loss = F.kl_div(outputs_BK.float().log_softmax(1), targets_BK, reduction="batchmean")
        self.scaler.scale(loss / self._execution.accumulate).backward()  # type: ignore[no-untyped-call]


class _Heard(nn.Module):
    """A network that remembers what it was given and what it said."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._inner = [network]  # no child: the training has its weights already
        self._last: tuple[Tensor, Tensor] | None = None

    def forward(self, x_BCHW: Tensor) -> Tensor:
        outputs_BK: Tensor = self._inner[0](x_BCHW)
        self._last = x_BCHW, outputs_BK.detach()
        return outputs_BK

    def last(self) -> tuple[Tensor, Tensor]:
        """Images and outputs; they are forgotten, as they take memory."""
        assert self._last is not None
        found, self._last = self._last, None
        return found


@lru_cache(maxsize=64)
def _frame(arch: ArchConfig, head: Head) -> MobileViT:
    """In training mode, and without running averages: those of one slice are not those of another."""
    frame = skeleton(arch, head)
    for module in frame.train().modules():
        if isinstance(module, _BatchNorm):
            module.track_running_stats = False
    return frame


def shared_job(
    family: Family,
    dataset: Dataset,
    recipe: Recipe,
    *,
    folder: Path,
    execution: Execution,
    seed: int = 0,
    weights: Mapping[str, Tensor] | None = None,
    init: str | None = None,
    taught: Taught | None = None,
) -> TrainingJob:
    """The training of a family's weights on the training images of a search.

    Some selection images show how the largest network gets on; those of the confirmation are not used.

    Args:
        weights: state dict of the largest network to start from, the most important channels first; None for
            random ones.
        init: hash of where they come from.
        taught: whom the largest network learns from.
    """
    data = FullData(
        name=dataset.name,
        classes=dataset.classes,
        train=dataset.train,
        test=dataset.selection.first(_LEAST_TESTED),
        fingerprint=dataset.fingerprint,
        task_name=dataset.task_name,
    )
    inputs = TrainingInputs(
        arch=family.maximal,
        recipe=recipe,
        seed=seed,
        data=data.fingerprint,
        classes=data.classes,
        init=init,
        teacher=taught.asked if taught else None,
    )
    job = TrainingJob(
        inputs=inputs,
        data=data,
        folder=folder,
        execution=execution,
        plan=resolve(recipe, family.maximal, len(dataset.train)),
        weights=weights,
    )
    return replace(job, teacher=taught.teacher, results=taught.results) if taught else job


def train_shared(
    job: TrainingJob,
    family: Family,
    *,
    listener: TrainingListener,
    check_interrupt: Callable[[], None] = lambda: None,
) -> TrainingState:
    """Train in the job's folder, or go on with the training there; its state at the end.

    Its checkpoints are those of a full training of the largest network; `family.json` lies beside them. The
    averaged weights of the last one are the shared ones: see `read_shared`.

    Args:
        check_interrupt: called between steps. If it raises, the training is saved where it is.

    Raises:
        StudyConflict: another process trains there, or the folder has a training with other inputs.
        StorageError: none of its checkpoints is whole, or the disk takes no more.
        TrainingError: the loss or the outputs are not finite, or torch cannot compute them.
    """
    if job.execution.ranks.is_first:
        _keep_family(job.folder / FAMILY, family)

    def make_trainer(job: TrainingJob, kept: KeptOutputs | None) -> Trainer:
        return SharedTrainer(new_trainer(job, kept), family)

    return train_fully(job, listener=listener, check_interrupt=check_interrupt, make_trainer=make_trainer)


def _keep_family(path: Path, family: Family) -> None:
    """Raises StudyConflict where the folder has another one."""
    asked = json.loads(json.dumps(family.to_json()))
    if not path.exists():
        write_atomically(path, json.dumps(asked, indent=1) + "\n")
    elif (known := _read_family(path)) != asked:
        name = next(name for name in asked if known.get(name) != asked[name])
        raise StudyConflict(
            f"{path}: these weights are shared by other networks ({name}); repeat the command that began them, or "
            "give another folder"
        )


def _read_family(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise StorageError(f"{path}: cannot be read: {first_line(err)}; give another folder") from err
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedWeights:
    """What a training of shared weights came to.

    Attributes:
        inputs: of the training; its architecture is the largest one.
        tensors: the averaged state dict of the largest network.
        sha256: of the file of these.
    """

    inputs: TrainingInputs
    tensors: Mapping[str, Tensor]
    sha256: str


def read_shared(folder: Path) -> SharedWeights:
    """The shared weights of a training that has ended.

    Raises:
        SpecError: the folder has none, or it has not ended.
        StorageError: its checkpoints are damaged.
    """
    path, faults = newest_checkpoint(folder)
    if path is None or not (folder / FAMILY).exists():
        if faults:
            raise StorageError("; ".join(faults))
        raise SpecError(f"{folder}: expected the folder of a training of shared weights")
    state = saved_state(path)
    if len(state.rows) < state.inputs.recipe.epochs:
        raise SpecError(f"{folder}: this training has not ended; repeat the command that began it")
    file = path / f"{AVERAGED}.safetensors"
    return SharedWeights(inputs=state.inputs, tensors=read_tensors(path, AVERAGED), sha256=file_sha256(file))
