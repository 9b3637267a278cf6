"""How pixels become a network's input: the one place that training and evaluation share.

Every network takes values in [0, 1] without mean or deviation, MobileViTv2 in the order RGB, the first
version in the order BGR (`ArchConfig.channel_order`, which exported files state too).
"""

import numpy as np
import torch
from torch import Tensor

from mvit2_search.arch import ChannelOrder


def to_input(pixels_NSSC: np.ndarray, order: ChannelOrder) -> Tensor:
    """uint8 grey or RGB images to float [N, 3, S, S] in [0, 1], channels last in memory."""
    ordered_NSSC = pixels_NSSC if order == "RGB" else pixels_NSSC[..., ::-1].copy()  # no negative strides
    x_NCSS = torch.from_numpy(ordered_NSSC).permute(0, 3, 1, 2).float().div_(255)
    return x_NCSS.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def flipped(pixels_NSSC: np.ndarray, chosen_N: np.ndarray) -> np.ndarray:
    """Mirror the chosen images left to right."""
    return np.where(chosen_N[:, None, None, None], pixels_NSSC[:, :, ::-1], pixels_NSSC)
