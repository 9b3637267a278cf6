"""A network in training: its step, its averaged weights, and its test."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mvit2_search.errors import TrainingError
from mvit2_search.models import MobileViT, for_inference
from mvit2_search.records import Recipe
from mvit2_search.task.data.dataset import Split, centre, to_input
from mvit2_search.task.protocol import Task, TaskScore
from mvit2_search.train.augment import mixed
from mvit2_search.train.loader import Batch, Steps, batches, mixture_generator, model_seed
from mvit2_search.train.plan import Plan, resolve
from mvit2_search.train.ranks import ALONE, Ranks

Precision = Literal["auto", "fp32", "bf16", "fp16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

_SETTLED_ON = 512  # images
_BATCH = 128  # images, where no gradients are kept


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


class Trainer:
    """A network in training. All that a step changes is in `model`, `averaged`, `optimizer`, `scaler` and `done`.

    Attributes:
        averaged: the network with an exponential moving average of the weights: what `model` would reach soon if
            its learning rate fell to zero. It goes on changing with the training.
        done: steps so far.
    """

    def __init__(self, model: MobileViT, plan: Plan, *, task: Task, execution: Execution, seed: int) -> None:
        device = execution.device
        self.model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.plan, self.done = plan, 0
        self.optimizer = _optimizer(model, plan)
        self.averaged = _averaged(model, plan)
        self.scaler = torch.amp.GradScaler(
            device.partition(":")[0], enabled=execution.resolved_precision == "fp16"
        )
        self._together = DistributedDataParallel(model) if execution.ranks.world > 1 else None
        self._network: nn.Module = self._together or model
        if execution.compile:
            self._network = torch.compile(self._network)  # type: ignore[assignment]
        self._task, self._execution, self._seed = task, execution, seed

    @property
    def averaged_model(self) -> MobileViT:
        return cast(MobileViT, self.averaged.module)

    def step(self, batch: Batch) -> Tensor:
        """Train on this process's part of a batch; its mean loss before that, a scalar on the device."""
        torch.manual_seed(model_seed(self._seed, self.done, self._execution.ranks.rank))
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate(self.done)
        self.model.train()
        self.optimizer.zero_grad()
        *others, last = zip(*(tensor.chunk(self._execution.accumulate) for tensor in batch), strict=True)
        with self._alone():
            losses = [self._backward(Batch(*part)) for part in others]
        loss = torch.stack([*losses, self._backward(Batch(*last))]).sum()
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.plan.recipe.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.averaged.update_parameters(self.model)
        self.done += 1
        return loss

    def _alone(self) -> AbstractContextManager[Any]:
        """Inside, processes do not exchange their gradients."""
        return self._together.no_sync() if self._together else nullcontext()

    def _backward(self, part: Batch) -> Tensor:
        """Add the gradients of a part of a batch; its share of the loss."""
        recipe, device = self.plan.recipe, self._execution.device
        x_BCHW = to_input(part.pixels_NSSC.numpy(), self.model.arch.channel_order, device)
        labels_B = part.labels_N.to(device)
        mixture: list[tuple[Tensor, float]] = [(labels_B, 1.0)]
        if recipe.mixes:
            x_BCHW, partners_B, own = mixed(x_BCHW, recipe, mixture_generator(self._seed, self.done))
            mixture = [(labels_B, own), (labels_B[partners_B], 1 - own)]
        with self._execution.autocast():
            outputs = self._network(x_BCHW)
        loss = sum(
            (
                share * self._task.loss(outputs.float(), labels, label_smoothing=recipe.label_smoothing)
                for labels, share in mixture
            ),
            start=torch.zeros((), device=device),
        )
        loss = loss / self._execution.accumulate
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return loss.detach()


def train_epochs(
    model: MobileViT,
    split: Split,
    recipe: Recipe,
    *,
    task: Task,
    seed: int,
    device: str,
    between: Callable[[], None] = lambda: None,
) -> Iterator[tuple[int, MobileViT]]:
    """Train `model` in place, pausing after each epoch with its number, from 1, and the averaged network.

    Deterministic for a seed on one machine's CPU. `between` is called before each step and may raise to end the
    training.

    Raises:
        TrainingError: the loss is not finite.
    """
    plan = resolve(recipe, model.arch, len(split))
    trainer = Trainer(model, plan, task=task, execution=Execution(device=device), seed=seed)
    loaded = batches(Steps(split, recipe, seed=seed), 0, plan.steps)
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


def settle_statistics(model: MobileViT, split: Split, *, device: str, size: int | None = None) -> None:
    """Replace every running mean and variance by the average over batches of the first 512 images of `split`.

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
    some = split.first(_SETTLED_ON)
    with torch.no_grad():
        for indices in np.array_split(np.arange(len(some)), -(-len(some) // _BATCH)):
            model(_test_input(some, indices, model, device, size))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def evaluate(
    model: MobileViT, split: Split, task: Task, *, device: str, size: int | None = None, ranks: Ranks = ALONE
) -> TaskScore:
    """Score a network on the central squares of images; raises TrainingError where its outputs are not finite.

    Args:
        ranks: each tests a part of the images and gets the score on all.
    """
    outputs = network_outputs(model, split, device, size, ranks.indices(len(split)))
    mine = np.concatenate([np.empty(0, np.int64), *(task.answers(some).cpu().numpy() for some in outputs)])
    return task.score(ranks.joined(mine, len(split)), split.labels_N)


def network_outputs(
    model: MobileViT, split: Split, device: str, size: int | None = None, chosen: np.ndarray | None = None
) -> Iterator[Tensor]:
    """What a network gives for batches of images, all or those `chosen`; see `evaluate`."""
    ready = for_inference(model)
    chosen = np.arange(len(split)) if chosen is None else chosen
    for indices in np.array_split(chosen, max(1, -(-len(chosen) // _BATCH))):
        with torch.inference_mode():
            outputs = ready(_test_input(split, indices, model, device, size))
        if not outputs.isfinite().all():
            raise TrainingError("the trained network's outputs are not finite")
        yield outputs


def _test_input(split: Split, indices: np.ndarray, model: MobileViT, device: str, size: int | None) -> Tensor:
    pixels_NSSC = split.pixels_NSSC[indices]
    return to_input(centre(pixels_NSSC, size or pixels_NSSC.shape[1]), model.arch.channel_order, device)


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


def _averaged(model: MobileViT, plan: Plan) -> AveragedModel:
    """A copy of `model` that follows it; its batch statistics too, unless they are estimated anew for tests."""
    return AveragedModel(
        model,
        multi_avg_fn=get_ema_multi_avg_fn(plan.ema_decay),  # type: ignore[no-untyped-call]
        use_buffers=not plan.recipe.settle,
    )
