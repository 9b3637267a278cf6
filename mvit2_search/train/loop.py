"""A network in training: its step, its averaged weights, and its test."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from mvit2_search.errors import TrainingError
from mvit2_search.models import MobileViT, for_inference
from mvit2_search.records import Recipe
from mvit2_search.task.data.dataset import Images, to_input
from mvit2_search.task.protocol import Task, TaskScore
from mvit2_search.train.augment import mixed
from mvit2_search.train.average import Average
from mvit2_search.train.loader import Batch, Steps, batches, mixture_generator, model_seed
from mvit2_search.train.plan import Plan, resolve
from mvit2_search.train.ranks import ALONE, Ranks

Precision = Literal["auto", "fp32", "bf16", "fp16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

_SETTLED_ON = 512  # images
_BATCH = 128  # images, where no gradients are kept
_NONE = -1  # no answer


@dataclass(frozen=True, kw_only=True, slots=True)
class Execution:
    """Where and how the steps of a training are computed.

    Attributes:
        precision: of the activations; auto is bf16 on a CUDA device that has it, else fp32.
        accumulate: parts that each batch is computed in, one after another, to save memory.
        workers: processes that prepare the next batches; 0 for none but this one.
        ranks: the processes that compute a part of each batch each.
    """

    device: str
    precision: Precision = "auto"
    accumulate: int = 1
    compile: bool = False
    workers: int = 0
    ranks: Ranks = ALONE

    @property
    def resolved_precision(self) -> Precision:
        if self.precision != "auto":
            return self.precision
        if not self.device.startswith("cuda"):
            return "fp32"
        with torch.cuda.device(self.device):
            return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"

    def autocast(self) -> AbstractContextManager[Any]:
        """Inside, a forward pass has the precision."""
        precision = self.resolved_precision
        dtype = torch.float16 if precision == "fp16" else torch.bfloat16
        return torch.autocast(self.device.partition(":")[0], dtype=dtype, enabled=precision != "fp32")


class Lessons(Protocol):
    """What a network learns from another one.

    Attributes:
        weight: in the loss, from 0 to 1; the rest is that of the labels.
    """

    weight: float

    def targets(self, step: int, batch: Batch) -> Tensor:
        """What the other one says of this process's part of a step's batch: probabilities [N, K] on the device."""

    def loss(self, outputs_NK: Tensor, targets_NK: Tensor) -> Tensor:
        """How far the outputs are from that, a scalar."""


class Trainer:
    """A network in training. All that a step changes is in `model`, `averaged`, `optimizer`, `scaler` and `done`.

    Attributes:
        averaged: the network with an exponential moving average of the weights: what `model` would reach soon if
            its learning rate fell to zero. It goes on changing with the training.
        done: steps so far.
    """

    def __init__(
        self,
        model: MobileViT,
        plan: Plan,
        *,
        task: Task,
        execution: Execution,
        seed: int,
        lessons: Lessons | None = None,
    ) -> None:
        device = execution.device
        self.model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.plan, self.done = plan, 0
        self.optimizer = _optimizer(model, plan)
        self.averaged = Average(model, decay=plan.ema_decay, statistics=not plan.recipe.settle)
        self.scaler = torch.amp.GradScaler(
            device.partition(":")[0], enabled=execution.resolved_precision == "fp16"
        )
        self._together = DistributedDataParallel(model) if execution.ranks.world > 1 else None
        self._network: nn.Module = self._together or model
        if execution.compile:
            self._network = torch.compile(self._network)  # type: ignore[assignment]
        self._task, self._execution, self._seed, self._lessons = task, execution, seed, lessons

    @property
    def averaged_model(self) -> MobileViT:
        return self.averaged.model

    def step(self, batch: Batch) -> Tensor:
        """Train on this process's part of a batch; its mean loss before that, a scalar on the device."""
        *others, last = self._parts(batch)
        torch.manual_seed(model_seed(self._seed, self.done, self._execution.ranks.rank))
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate(self.done)
        self.model.train()
        self.optimizer.zero_grad()
        with self._alone():
            losses = [self._backward(*part) for part in others]
        loss = torch.stack([*losses, self._backward(*last)]).sum()
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.plan.recipe.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.averaged.follow()
        self.done += 1
        return loss

    def _parts(self, batch: Batch) -> list[tuple[Batch, Tensor | None]]:
        """Those that are computed one after another, with what there is to learn of each from another network."""
        count = self._execution.accumulate
        parts = [Batch(*part) for part in zip(*(tensor.chunk(count) for tensor in batch), strict=True)]
        if self._lessons is None:
            return [(part, None) for part in parts]
        return list(zip(parts, self._lessons.targets(self.done, batch).chunk(count), strict=True))

    def _alone(self) -> AbstractContextManager[Any]:
        """Inside, processes do not exchange their gradients."""
        return self._together.no_sync() if self._together else nullcontext()

    def _backward(self, part: Batch, targets_BK: Tensor | None) -> Tensor:
        """Add the gradients of a part of a batch; its share of the loss."""
        recipe, device = self.plan.recipe, self._execution.device
        x_BCHW = to_input(part.pixels_NSSC.numpy(), self.model.arch.channel_order, device)
        labels_B = part.labels_N.to(device)
        mixture: list[tuple[Tensor | slice, float]] = [(slice(None), 1.0)]
        if recipe.mixes:
            x_BCHW, partners_B, own = mixed(x_BCHW, recipe, mixture_generator(self._seed, self.done))
            mixture = [(slice(None), own), (partners_B, 1 - own)]
        with self._execution.autocast():
            outputs = self._network(x_BCHW)
        outputs = outputs.float()
        loss = sum(
            (
                share * self._task.loss(outputs, labels_B[rows], label_smoothing=recipe.label_smoothing)
                for rows, share in mixture
            ),
            start=torch.zeros((), device=device),
        )
        if self._lessons is not None and targets_BK is not None:
            mixed_BK = torch.stack([share * targets_BK[rows] for rows, share in mixture]).sum(0)
            weight = self._lessons.weight
            loss = (1 - weight) * loss + weight * self._lessons.loss(outputs, mixed_BK)
        loss = loss / self._execution.accumulate
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return loss.detach()


def train_epochs(
    model: MobileViT,
    images: Images,
    recipe: Recipe,
    *,
    task: Task,
    seed: int,
    device: str,
    lessons: Lessons | None = None,
    between: Callable[[], None] = lambda: None,
) -> Iterator[tuple[int, MobileViT]]:
    """Train `model` in place, pausing after each epoch with its number, from 1, and the averaged network.

    Deterministic for a seed on one machine's CPU. `between` is called before each step and may raise to end the
    training.

    Raises:
        TrainingError: the loss is not finite.
    """
    plan = resolve(recipe, model.arch, len(images))
    trainer = Trainer(model, plan, task=task, execution=Execution(device=device), seed=seed, lessons=lessons)
    loaded = batches(Steps(images, recipe, seed=seed), 0, plan.steps)
    for epoch in range(1, recipe.epochs + 1):
        train_epoch(trainer, loaded, between=between)
        yield epoch, trainer.averaged_model


def train_epoch(trainer: Trainer, loaded: Iterator[Batch], *, between: Callable[[], None]) -> float:
    """Train up to the end of the epoch; the mean loss of its steps that this took.

    Raises:
        TrainingError: it is not finite.
    """
    per_epoch = trainer.plan.steps_per_epoch
    epoch = trainer.done // per_epoch + 1
    losses = []
    while trainer.done < epoch * per_epoch:
        between()
        losses.append(trainer.step(next(loaded)))
    loss = torch.stack(losses).mean().item()
    if not math.isfinite(loss):
        raise TrainingError(f"the loss is not finite in epoch {epoch}")
    return loss


def settle_statistics(model: MobileViT, images: Images, *, device: str, size: int | None = None) -> None:
    """Replace every running mean and variance by the average over batches of the first 512 of `images`.

    Batches have at most 128 images and are equally large but for one image.

    In a short training the weights change faster than the running averages follow, so that a network tested with
    them may be at chance level when it has learnt long since. Training itself does not use them.

    Args:
        size: of the central squares that are used; by default the whole images.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average over batches
    model.eval()
    for norm in norms:
        norm.train()
    some = np.arange(min(_SETTLED_ON, len(images)))
    with torch.no_grad():
        for places in np.array_split(some, -(-len(some) // _BATCH)):
            model(to_input(images.squares(places, size).pixels_NSSC, model.arch.channel_order, device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def evaluate(
    model: MobileViT, images: Images, task: Task, *, device: str, size: int | None = None, ranks: Ranks = ALONE
) -> TaskScore:
    """Score a network on the central squares of images; raises TrainingError where its outputs are not finite.

    Images that do not open are left out.

    Args:
        ranks: each tests a part of the images and gets the score on all.
    """
    mine_N = ranks.indices(len(images))
    answers_N = np.full(len(mine_N), _NONE)
    for good_N, outputs in network_outputs(model, images, device, size, mine_N):
        answers_N[good_N] = task.answers(outputs).cpu().numpy()
    all_N = ranks.joined(answers_N, len(images))
    return task.score(all_N[all_N != _NONE], images.labels_N[all_N != _NONE])


def network_outputs(
    model: MobileViT, images: Images, device: str, size: int | None = None, chosen: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """What a network gives for batches of images, all or those `chosen`; see `evaluate`.

    Before the outputs, the places among these of the images that they are for.
    """
    ready = for_inference(model)
    chosen = np.arange(len(images)) if chosen is None else chosen
    for places in np.array_split(np.arange(len(chosen)), max(1, -(-len(chosen) // _BATCH))):
        pixels_NSSC, good_N = images.squares(chosen[places], size)
        if not len(good_N):
            continue
        with torch.inference_mode():
            outputs = ready(to_input(pixels_NSSC, model.arch.channel_order, device))
        if not outputs.isfinite().all():
            raise TrainingError("the trained network's outputs are not finite")
        yield places[good_N], outputs


def _optimizer(model: nn.Module, plan: Plan) -> torch.optim.Optimizer:
    """Norms and biases do not decay."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": plan.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if plan.recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=plan.learning_rate, momentum=0.9, fused=True)
    return torch.optim.AdamW(groups, lr=plan.learning_rate, fused=True)
