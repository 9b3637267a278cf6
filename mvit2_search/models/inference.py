"""A trained network made ready to be run, not trained."""

import copy

from torch import nn

from mvit2_search.models.layers import ConvNorm
from mvit2_search.models.mobilevit import MobileViT


def for_inference(model: MobileViT) -> MobileViT:
    """A copy in evaluation mode with batch normalisation folded into the convolutions.

    The outputs are the same up to rounding. On a CPU it takes about three quarters of the time.
    """
    ready = copy.deepcopy(model).eval()
    for module in list(ready.modules()):
        if isinstance(module, ConvNorm):
            module.fold()
        elif isinstance(module, nn.SiLU):
            module.inplace = True
    return ready
