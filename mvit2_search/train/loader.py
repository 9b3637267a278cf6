"""The batches of a training. Which images they hold and how these are changed follows from the seed alone.

An image is drawn with its pass over all images and its index, and changed by numbers of (seed, pass, index).
So neither the number of workers or processes nor a start in the middle changes anything.
"""

import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mvit2_search.errors import DataError
from mvit2_search.records import Recipe
from mvit2_search.task.data.dataset import Images
from mvit2_search.train.augment import augmented

_ORDER, _IMAGE, _MIXTURE, _MODEL = range(4)  # what is drawn


class Batch(NamedTuple):
    """Training images of one step with their classes, and which they are."""

    pixels_NSSC: Tensor  # uint8
    labels_N: Tensor
    drawn_N2: Tensor  # of each `Drawn`: turn, image


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


class ImageNumbers:
    """The random numbers of each drawn image.

    One generator for all, which is put to the place of the image in its sequence: making one for each image takes
    longer than all else that is done for a small image.
    """

    def __init__(self, seed: int) -> None:
        self._key = (seed % 2**64, _IMAGE)
        self._philox = np.random.Philox(0)
        self._generator = np.random.Generator(self._philox)

    def of(self, drawn: Drawn) -> np.random.Generator:
        """Valid until the next call."""
        state: Any = {
            "bit_generator": "Philox",
            "state": {"counter": (0, 0, *drawn), "key": self._key},
            "buffer": (0, 0, 0, 0),
            "buffer_pos": 4,  # nothing is left in it
            "has_uint32": 0,
            "uinteger": 0,
        }
        self._philox.state = state
        return self._generator


class _Made(NamedTuple):
    batch: Batch | DataError  # which a worker would raise as another error
    faults: dict[str, str]  # of the files that this process has read


class Steps(Dataset[_Made]):
    """The batch of each step, or the part of it that one of `world` processes computes, the one called `rank`.

    `world` divides the batch size.

    Attributes:
        faults: files that do not open, and why, of those that batches were made of.
    """

    def __init__(self, images: Images, recipe: Recipe, *, seed: int, rank: int = 0, world: int = 1) -> None:
        self._images, self._recipe = images, recipe
        self.faults: dict[str, str] = {}
        self._order = Order(count=len(images), seed=seed)
        share = recipe.batch_size // world
        self._part = range(rank * share, (rank + 1) * share)
        self._numbers = ImageNumbers(seed)

    def __getitem__(self, step: int) -> _Made:
        try:
            return _Made(self._batch(step), dict(self._images.faults))
        except DataError as err:
            return _Made(err, {})

    def _batch(self, step: int) -> Batch:
        drawn = [self._order.at(step * self._recipe.batch_size + i) for i in self._part]
        items = [self._images.item(one.image) for one in drawn]
        changed = [
            augmented(item.pixels_HWC, self._recipe, self._numbers.of(one))
            for item, one in zip(items, drawn, strict=True)
        ]
        labels_N = torch.tensor([item.label for item in items])
        return Batch(torch.from_numpy(np.stack(changed)), labels_N, torch.tensor(drawn))


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
        worker_init_fn=_leave_signals,
        generator=torch.Generator(),  # it would draw from the global one
    )
    for batch, faults in loader:
        steps.faults |= faults
        if isinstance(batch, DataError):
            raise batch
        yield batch


def _leave_signals(worker: int) -> None:
    """To the process that trains, which ends its workers. A terminal sends Ctrl-C to all of them."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
