"""The statistics of batch normalisation, estimated for the weights as they are now."""

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from mvit2_search.models import MobileViT
from mvit2_search.task.data.dataset import Split, to_input

_IMAGES, _BATCH = 512, 128


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
    pixels = split.first(_IMAGES).pixels_NSSC
    with torch.no_grad():
        for batch in np.array_split(pixels, -(-len(pixels) // _BATCH)):
            model(to_input(batch, model.arch.channel_order).to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
