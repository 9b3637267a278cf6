"""What shared weights begin with: a trained network, grown to the largest of a family, its channels sorted."""

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mvit2_search.arch import ArchConfig, published_networks
from mvit2_search.arch.head import Head
from mvit2_search.errors import SpecError
from mvit2_search.models import MobileViT
from mvit2_search.models.groups import skeleton
from mvit2_search.models.grow import grown
from mvit2_search.models.importance import l1_order, taylor_order
from mvit2_search.models.slices import sliced
from mvit2_search.task.data.dataset import Dataset, to_input
from mvit2_search.train.checkpoint import best_checkpoint
from mvit2_search.train.loop import settle_statistics
from mvit2_search.train.saved import saved_state
from mvit2_search.train.start import starting_weights

_IMAGES, _BATCH = 1_024, 64  # that tell which channels matter


def origin(path: Path, head: Head, arch: ArchConfig | None = None) -> tuple[ArchConfig, dict[str, Tensor]]:
    """A network and its state dict, without a head of other classes; see `starting_weights`.

    Args:
        path: file of weights, or folder of a training, which knows its network.
        arch: of the file; None for the published width that fits.

    Raises:
        SpecError: it cannot be read, or is no such network.
    """
    if arch is None:
        arch = saved_state(best_checkpoint(path)).inputs.arch if path.is_dir() else _published_width(path, head)
    return arch, starting_weights(path, arch, head)


def _published_width(path: Path, head: Head) -> ArchConfig:
    faults = []
    for name, arch in published_networks().items():
        if arch.family == "mobilevitv2":
            try:
                starting_weights(path, arch, head)
            except SpecError as err:
                faults.append(f"{name}: {err}")
            else:
                return arch
    raise SpecError(f"{faults[0]}; nor does any other published width of MobileViTv2 fit")


def beginning(
    weights: Mapping[str, Tensor],
    arch: ArchConfig,
    maximal: ArchConfig,
    dataset: Dataset,
    *,
    device: str,
    seed: int,
) -> dict[str, Tensor]:
    """The state dict of `maximal` to share: it does what `arch` does, and its channels are sorted by importance.

    Importance is that for the loss on up to 1,024 training images; where the weights have no head for their
    classes, the size of the weights.

    Raises:
        SpecError: `arch` cannot be grown to `maximal`.
    """
    head = dataset.task.head
    found = grown(weights, arch, maximal, head, seed=seed)
    if any(name.startswith("classifier.") for name in weights):
        model = skeleton(maximal, head)
        model.load_state_dict(found, assign=True)
        order = importance_order(model, dataset, device=device)
    else:
        order = l1_order(found, maximal, head)
    return sliced(found, maximal, maximal, head, order)


def importance_order(model: MobileViT, dataset: Dataset, *, device: str) -> dict[str, Tensor]:
    """Of the channels of a trained network, by what the loss on some training images says of each."""
    tried = copy.deepcopy(model).to(device).requires_grad_()
    settle_statistics(tried, dataset.train, device=device)
    weights = {name: weight.detach() for name, weight in tried.eval().named_parameters()}
    return taylor_order(weights, _gradients(tried, dataset, device), model.arch, dataset.task.head)


def _gradients(model: MobileViT, dataset: Dataset, device: str) -> Iterator[dict[str, Tensor]]:
    names, weights = zip(*model.named_parameters(), strict=True)
    images, task = dataset.train, dataset.task
    some = np.arange(min(_IMAGES, len(images)))
    for places in np.array_split(some, -(-len(some) // _BATCH)):
        x_BCHW = to_input(images.squares(places).pixels_NSSC, model.arch.channel_order, device)
        labels_B = torch.from_numpy(images.labels_N[places]).to(device)
        loss = task.loss(model(x_BCHW), labels_B, label_smoothing=0.0)
        yield dict(zip(names, torch.autograd.grad(loss, weights), strict=True))
