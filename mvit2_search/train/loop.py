"""Where a network is trained, its training epoch by epoch, and its test."""

import ctypes
import math
import platform
import re
from collections.abc import Callable, Iterator
from typing import cast

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mvit2_search.errors import BackendUnavailable, SpecError, TrainingError
from mvit2_search.models import MobileViT, for_inference
from mvit2_search.records import Recipe
from mvit2_search.task.data.dataset import Split, flipped, to_input
from mvit2_search.task.protocol import Task, TaskScore


def resolve_train_device(train_on: str) -> str:
    """The device to train on; `auto` is the first of cuda, mps and cpu that is there.

    Raises:
        SpecError: not a device.
        BackendUnavailable: not on this machine.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", train_on):
        raise SpecError(f"`train_on` {train_on!r}: expected auto, cpu, mps, cuda or cuda:1")
    if train_on == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if train_on.startswith("cuda"):
        count, index = torch.cuda.device_count(), int(train_on.partition(":")[2] or 0)
        if index >= count:
            raise BackendUnavailable(
                f"`train_on` {train_on}: torch sees {count} CUDA devices; try `train_on` auto"
            )
    if train_on == "mps" and not torch.backends.mps.is_available():
        raise BackendUnavailable("`train_on` mps: needs a Mac with Apple silicon; try `train_on` auto")
    return train_on


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory for the next step instead of giving it back to the system.

    By default every training step returns its tensors' pages and faults them in again, which takes a
    fifth to a third of the time of small networks. Does nothing where the C library is another.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # malloc.h's M_ options
    libc = ctypes.CDLL(None)
    libc.mallopt(mmap_threshold, 1 << 30)
    libc.mallopt(trim_threshold, (1 << 31) - 1)
    libc.mallopt(top_pad, 1 << 28)


Batch = tuple[np.ndarray, np.ndarray]  # pixels and labels

_SETTLED_ON = 512  # images
_BATCH = 128  # images, where no gradients are kept
_AVERAGED = 0.1  # share of all steps over which weights are averaged


def settle_statistics(model: MobileViT, split: Split, *, device: str) -> None:
    """Replace every running mean and variance by the average over batches of the first 512 images of `split`.

    Batches have at most 128 images and are equally large but for one image.

    In a short training the weights change faster than the running averages follow, so that a network tested with
    them may be at chance level when it has learnt long since. Training itself does not use them.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average over batches
    model.eval()
    for norm in norms:
        norm.train()
    pixels = split.first(_SETTLED_ON).pixels_NSSC
    with torch.no_grad():
        for batch in np.array_split(pixels, -(-len(pixels) // _BATCH)):
            model(to_input(batch, model.arch.channel_order).to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


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

    The averaged network has an exponential moving average of the weights over a tenth of all steps, an epoch at
    most: what `model` would reach soon if its learning rate fell to zero. It goes on changing with the training.

    An epoch is `recipe.images_per_epoch` images, whatever the size of `split`: all are seen before one
    comes again. Deterministic for a seed on one machine's CPU. `between` is called before each step and may raise
    to end the training.

    Raises:
        TrainingError: the loss is not finite.
    """
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = _optimizer(model, recipe)
    averaged = _averaged(model, recipe)
    batches = _batches(split, recipe, np.random.default_rng(seed))
    step = 0
    for epoch in range(1, recipe.epochs + 1):
        model.train()
        total = torch.zeros((), device=device)
        for _ in range(recipe.steps_per_epoch):
            between()
            _set_learning_rate(optimizer, recipe, step)
            total += _train_step(model, optimizer, next(batches), task=task, recipe=recipe, device=device)
            averaged.update_parameters(model)
            step += 1
        if not math.isfinite(total.item()):
            raise TrainingError(f"the loss is not finite in epoch {epoch}")
        yield epoch, cast(MobileViT, averaged.module)


def evaluate(model: MobileViT, split: Split, task: Task, *, device: str) -> TaskScore:
    """Score a network on images; raises TrainingError where its outputs are not finite."""
    ready = for_inference(model)
    answers = []
    with torch.inference_mode():
        for i in range(0, len(split), _BATCH):
            images = to_input(split.pixels_NSSC[i : i + _BATCH], model.arch.channel_order)
            outputs = ready(images.to(device))
            if not outputs.isfinite().all():
                raise TrainingError("the trained network's outputs are not finite")
            answers.append(task.answers(outputs).cpu().numpy())
    return task.score(np.concatenate(answers), split.labels_N)


def _train_step(
    model: MobileViT, optimizer: torch.optim.Optimizer, batch: Batch, *, task: Task, recipe: Recipe, device: str
) -> torch.Tensor:
    """One step; the loss before it."""
    pixels_NSSC, labels_N = batch
    outputs = model(to_input(pixels_NSSC, model.arch.channel_order).to(device))
    labels = torch.from_numpy(labels_N).to(device)
    loss = task.loss(outputs, labels, label_smoothing=recipe.label_smoothing)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
    optimizer.step()
    return loss.detach()


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW; norms and biases do not decay."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)


def _averaged(model: MobileViT, recipe: Recipe) -> AveragedModel:
    """A copy of `model` that follows it as `train_epochs` says."""
    steps = min(recipe.steps_per_epoch, _AVERAGED * recipe.epochs * recipe.steps_per_epoch)
    return AveragedModel(
        model,
        multi_avg_fn=get_ema_multi_avg_fn(1 - 1 / max(steps, 1)),  # type: ignore[no-untyped-call]
    )


def _set_learning_rate(optimizer: torch.optim.Optimizer, recipe: Recipe, step: int) -> None:
    total = recipe.epochs * recipe.steps_per_epoch
    warmup = max(1, round(recipe.warmup_share * total))
    decay = 0.5 * (1 + math.cos(math.pi * max(0, step - warmup) / max(1, total - warmup)))
    for group in optimizer.param_groups:
        group["lr"] = recipe.learning_rate * min((step + 1) / warmup, decay)


def _batches(split: Split, recipe: Recipe, rng: np.random.Generator) -> Iterator[Batch]:
    """Endless batches from one shuffle of the images after another."""
    waiting = np.empty(0, np.int64)
    while True:
        while len(waiting) < recipe.batch_size:
            waiting = np.concatenate([waiting, rng.permutation(len(split))])
        chosen, waiting = waiting[: recipe.batch_size], waiting[recipe.batch_size :]
        pixels = split.pixels_NSSC[chosen]
        if recipe.flip:
            pixels = flipped(pixels, rng.random(len(pixels)) < 0.5)
        yield pixels, split.labels_N[chosen]
