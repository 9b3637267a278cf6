"""Small networks of every kind, exported and compared."""

import os
import subprocess
import sys
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from torch import nn

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.export.untrained import export_model, untrained_network
from mvit2_search.export.verify import verify
from mvit2_search.records import DEFAULT_FORMULATION
from mvit2_search.task.data.dataset import to_input

MIXERS = ("separable", "multi_head", "linformer")


def few(arch, layers=(1, 1, 1)):
    """The same with one inverted residual per stage and so many layers: fewer operators to convert."""
    return replace(
        arch, attention_layers=layers, expanded_channels=tuple(row[:1] for row in arch.expanded_channels)
    )


SMALL = few(ArchConfig.mobilevitv2(0.25, image_size=64, attention=MIXERS), layers=(2, 1, 1))
FIRST = few(replace(ArchConfig.mobilevitv1("xxs"), image_size=64, attention=MIXERS), layers=(2, 1, 1))
ODD = few(ArchConfig.mobilevitv2(0.25, image_size=72, attention=MIXERS, patch_size=(2, 3, 2)))
FIRST_ODD = replace(FIRST, image_size=72, patch_sizes=(2, 3, 2))
FEW = few(ArchConfig.mobilevitv2(0.25, image_size=64))
# and blocks without a layer; the first has the most tokens
ONE = replace(FEW, attention_layers=(1, 0, 0))
ONE_FIRST = few(replace(ArchConfig.mobilevitv1("xxs"), image_size=64), layers=(1, 0, 0))
OTHER_MIXERS = replace(FEW, attention=("separable", "linformer", "multi_head"), attention_layers=(0, 1, 1))
# 24, 36 and 48 channels per head: what scales their scores is no number that half precision has
HEADS = ArchConfig.mobilevitv2(0.75, image_size=64, attention="multi_head", attention_layers=1)
MODEL = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


def noise(arch, count=2):
    pixels = np.random.default_rng(0).integers(0, 256, (count, arch.image_size, arch.image_size, 3), np.uint8)
    return to_input(pixels, arch.channel_order).numpy()


def exported(arch, folder, *, options=None, format="mlpackage", formulation=DEFAULT_FORMULATION, classes=4):
    folder.mkdir(exist_ok=True)
    return export_model(
        arch, folder, format=format, head=ClassifierHead(classes), formulation=formulation, options=options
    )


@cache
def network(arch, classes):
    """What `export_model` exports. Comparisons leave it as it is."""
    return untrained_network(arch, ClassifierHead(classes))


def agreement(artifact, arch, images=None):
    return verify(artifact, network(arch, artifact.output_shape[1]), noise(arch) if images is None else images)


def in_another_process(code, folder):
    """What Python code prints and complains of where all sets are in another order than here."""
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    ran = subprocess.run(
        [sys.executable, "-c", code, folder],
        env=os.environ | {"PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.split(), ran.stderr


class Tiny(nn.Module):
    """A convolution and a norm, of which XNNPACK takes the first alone; `scale` tells one from another."""

    def __init__(self, scale=1.0):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.conv, self.norm = nn.Conv2d(3, 8, 3, 2), nn.GroupNorm(1, 8)
        for parameter in self.parameters():
            parameter.data = scale * torch.randn(parameter.shape, generator=generator)

    def forward(self, x_BCHW):
        return self.norm(self.conv(x_BCHW)).mean(dim=(2, 3))


def images(size, count=2):
    return np.random.default_rng(7).random((count, 3, size, size), np.float32)


def worst(run, artifact, model, size):
    """Largest difference between the saved file, executed by `run`, and torch.

    Logits that are more than 0.1 apart show that both speak.
    """
    x = images(size)
    with torch.inference_mode():
        expected = model(torch.from_numpy(x)).numpy()
    got = run(artifact, x)
    assert got.shape == expected.shape
    assert np.ptp(expected, axis=1).min() > 0.1
    return np.abs(got.astype(np.float32) - expected).max()
