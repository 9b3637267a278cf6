"""Small networks of every kind, exported and compared."""

from dataclasses import replace

import numpy as np

from mvit2_search.arch import ArchConfig
from mvit2_search.data import to_input
from mvit2_search.export import export_model, untrained_network, verify
from mvit2_search.records import DEFAULT_FORMULATION

MIXERS = ("separable", "multi_head", "linformer")
SMALL = ArchConfig.mobilevitv2(0.25, image_size=64, attention=MIXERS)
FIRST = replace(ArchConfig.mobilevitv1("xxs"), image_size=64, attention=MIXERS)
ODD = ArchConfig.mobilevitv2(0.25, image_size=72, attention=MIXERS, patch_size=(2, 3, 2))
FIRST_ODD = replace(FIRST, image_size=72, patch_sizes=(2, 3, 2))
MODEL = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


def noise(arch, count=2):
    pixels = np.random.default_rng(0).integers(0, 256, (count, arch.image_size, arch.image_size, 3), np.uint8)
    return to_input(pixels, arch.channel_order).numpy()


def exported(arch, folder, *, options=None, format="mlpackage", formulation=DEFAULT_FORMULATION, classes=4):
    folder.mkdir(exist_ok=True)
    return export_model(arch, folder, format=format, num_classes=classes, formulation=formulation, options=options)


def agreement(artifact, arch, images=None):
    model = untrained_network(arch, artifact.output_shape[1])
    return verify(artifact, model, noise(arch) if images is None else images)
