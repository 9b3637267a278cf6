"""A tiny family of networks and trainings of its shared weights: helper of tests."""

from pathlib import Path

import numpy as np

from mvit2_search.arch import ArchConfig
from mvit2_search.records import Recipe
from mvit2_search.task.data.dataset import Dataset, Split
from mvit2_search.train.family import Family, family_of
from mvit2_search.train.loop import Execution
from mvit2_search.train.shared import shared_job, train_shared
from trainings import Quiet

LARGE = ArchConfig(
    stem_channels=6,
    stage_channels=(10, 12, 14, 16, 18),
    expanded_channels=((8,), (12, 16), (10,), (18,), (22,)),
    attention_dims=(8, 12, 10),
    attention_layers=(2, 1, 1),
    ffn_dims=(12, 10, 14),
    kernel_sizes=(5, 3, 5, 3, 3),
    image_size=64,
)
SMALL = ArchConfig(
    stem_channels=4,
    stage_channels=(7, 8, 9, 11, 13),
    expanded_channels=((6,), (10,), (8,), (12,), (17,)),
    attention_dims=(6, 9, 7),
    attention_layers=(1, 1, 1),
    ffn_dims=(9, 8, 11),
    image_size=64,
)
MIDDLE = ArchConfig(
    stem_channels=6,
    stage_channels=(8, 12, 12, 16, 13),
    expanded_channels=((8,), (12, 16), (8,), (14,), (20,)),
    attention_dims=(8, 9, 10),
    attention_layers=(2, 1, 1),
    ffn_dims=(9, 10, 11),
    kernel_sizes=(5, 3, 3, 3, 3),
    image_size=64,
)
RECIPE = Recipe(epochs=2, image_size=32, images_per_epoch=32, batch_size=8, learning_rate=5e-3)


def coloured(count: int, seed: int, size: int = 32) -> Split:
    """Red and green images."""
    rng = np.random.default_rng(seed)
    labels_N = rng.integers(0, 2, count)
    pixels_NSSC = rng.integers(0, 100, (count, size, size, 3), dtype=np.uint8)
    pixels_NSSC[np.arange(count), :, :, labels_N] += 100
    return Split(pixels_NSSC=pixels_NSSC, labels_N=labels_N)


def a_dataset(count: int = 40, **changes) -> Dataset:
    parts = {name: coloured(count, seed) for seed, name in enumerate(("train", "selection", "confirmation"))}
    return Dataset(
        **{"name": "colours", "classes": ("red", "green"), "fingerprint": "colours", **parts, **changes}
    )


def a_family() -> Family:
    return family_of([SMALL, MIDDLE, LARGE], a_dataset().task.head)


def a_job(folder: Path, *, family: Family | None = None, recipe: Recipe = RECIPE, dataset=None, **settings):
    execution = Execution(device="cpu", **settings.pop("execution", {}))
    family, dataset = family or a_family(), dataset or a_dataset()
    return shared_job(family, dataset, recipe, folder=folder, execution=execution, **settings)


def trained(folder: Path, listener=None, check_interrupt=lambda: None, **settings):
    family = settings.setdefault("family", a_family())
    job = a_job(folder, **settings)
    return train_shared(job, family, listener=listener or Quiet(), check_interrupt=check_interrupt)
