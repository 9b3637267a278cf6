"""The batches of a training. Which images they hold and how these are changed follows from the seed alone.

An image is drawn with its pass over all images and its index, and changed by a generator of (seed, pass, index).
So neither the number of workers or processes nor a start in the middle changes anything.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mvit2_search.records import Recipe
from mvit2_search.task.data.dataset import Split
from mvit2_search.train.augment import augmented

_ORDER, _IMAGE, _MIXTURE, _MODEL = range(4)  # what is drawn


class Batch(NamedTuple):
    """Training images of one step with their classes."""

    pixels_NSSC: Tensor  # uint8
    labels_N: Tensor


class Drawn(NamedTuple):
    """An image of the training images, in one of the passes over all of them."""

    turn: int
    image: int  # its index


@dataclass(kw_only=True)
class Order:
    """Shuffles of `count` images, one after another."""

    count: int
    seed: int
    _shuffles: dict[int, np.ndarray] = field(default_factory=dict)

    def at(self, place: int) -> Drawn:
        turn, within = divmod(place, self.count)
        if turn not in self._shuffles:
            shuffle = np.random.default_rng((self.seed, _ORDER, turn)).permutation(self.count)
            self._shuffles = {turn: shuffle} | {t: s for t, s in self._shuffles.items() if t == turn - 1}
        return Drawn(turn, int(self._shuffles[turn][within]))


class Steps(Dataset[Batch]):
    """The batch of each step, or the part of it that one of `world` processes computes, the one called `rank`."""

    def __init__(self, split: Split, recipe: Recipe, *, seed: int, rank: int = 0, world: int = 1) -> None:
        self._split, self._recipe, self._seed = split, recipe, seed
        self._order = Order(count=len(split), seed=seed)
        share = recipe.batch_size // world
        self._part = range(rank * share, (rank + 1) * share)

    def __getitem__(self, step: int) -> Batch:
        drawn = [self._order.at(step * self._recipe.batch_size + i) for i in self._part]
        indices = [one.image for one in drawn]
        pixels_NSSC = np.stack([self._image(one) for one in drawn])
        return Batch(torch.from_numpy(pixels_NSSC), torch.from_numpy(self._split.labels_N[indices]))

    def _image(self, drawn: Drawn) -> np.ndarray:
        rng = np.random.default_rng((self._seed, _IMAGE, *drawn))
        return augmented(self._split.pixels_NSSC[drawn.image], self._recipe, rng)


def mixture_generator(seed: int, step: int) -> np.random.Generator:
    """For how the images of a step are mixed, in all its processes and parts alike."""
    return np.random.default_rng((seed, _MIXTURE, step))


def model_seed(seed: int, step: int, rank: int) -> int:
    """Of torch, for what the network itself draws in a step, such as its dropout."""
    return int(np.random.default_rng((seed, _MODEL, step, rank)).integers(2**62))


def batches(steps: Steps, start: int, stop: int, *, workers: int = 0) -> Iterator[Batch]:
    """Those of the steps from `start` to before `stop`, prepared by so many other processes ahead."""
    loader = DataLoader(
        steps,
        batch_size=None,
        sampler=range(start, stop),
        num_workers=workers,
        generator=torch.Generator(),  # it would draw from the global one
    )
    return iter(loader)
