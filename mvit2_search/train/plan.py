"""What a training will do: its recipe read from YAML, and the numbers that follow for a network and its images."""

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from mvit2_search.arch import ArchConfig, published_networks
from mvit2_search.arch.cost import network_cost
from mvit2_search.arch.head import IMAGENET
from mvit2_search.errors import SpecError
from mvit2_search.records import Recipe, recipe_fault
from mvit2_search.system.yaml import load, nearest

_FOLDER = Path(__file__).parent / "recipes"
RECIPES = tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))

_PUBLISHED = {  # largest learning rate, at 1,024 images a step, and weight decay of ml-cvnets' trainings by width
    "0.5": (0.0090, 0.004),
    "0.75": (0.0090, 0.008),
    "1.0": (0.0075, 0.013),
    "1.25": (0.0049, 0.020),
    "1.5": (0.0035, 0.029),
    "1.75": (0.0026, 0.039),
    "2.0": (0.0020, 0.050),
}
_AVERAGED = 0.1  # share of all steps over which weights are averaged, if no momentum says so
_AVERAGED_AT_MOST = 0.2  # if one does


def load_recipe(name_or_path: str, changes: Mapping[str, Any] | None = None) -> Recipe:
    """One of `RECIPES`, or a YAML file with settings of `Recipe`; those that it leaves out have their defaults.

    Args:
        changes: settings to have instead.

    Raises:
        SpecError: neither, or a setting is unknown or wrong; of a file, with line and column.
    """
    path = _FOLDER / f"{name_or_path}.yaml" if name_or_path in RECIPES else Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        raise SpecError(f"`recipe` {name_or_path!r}{nearest(name_or_path, RECIPES)}; or a YAML file")
    document = load(path)
    document.check_keys((), document.data, known=[field.name for field in fields(Recipe)])
    for name, value in document.data.items():
        if fault := recipe_fault(name, value):
            raise document.error((name,), fault + _as_yaml(name, value))
    try:
        return Recipe(**{**document.data, **(changes or {})})
    except SpecError as err:  # of values that do not fit each other
        if changes:
            raise
        raise document.error((), str(err)) from err


def _as_yaml(name: str, value: Any) -> str:
    """How to write what was read as text."""
    if value == "none" and recipe_fault(name, None) is None:
        return "; write null"
    is_power = isinstance(value, str) and re.fullmatch(r"[+-]?[0-9.]+e[+-]?[0-9]+", value, re.IGNORECASE)
    return "; write a power of ten with a dot and a sign, as in 1.0e-3" if is_power else ""


def images_drawn(recipe: Recipe) -> int:
    """In a whole training: a larger data set is not used up."""
    if recipe.images_per_epoch is None:
        return sys.maxsize
    return recipe.epochs * _steps(recipe, recipe.images_per_epoch) * recipe.batch_size


def _steps(recipe: Recipe, images: int) -> int:
    """Whole batches that hold at least so many images."""
    return -(-images // recipe.batch_size)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A recipe for one network and so many images, with every value resolved.

    Attributes:
        learning_rate: the largest one, at the batch size of the recipe.
        ema_decay: share of their average that the averaged weights keep in a step.
    """

    recipe: Recipe
    images: int
    learning_rate: float
    weight_decay: float
    steps_per_epoch: int
    ema_decay: float

    @property
    def steps(self) -> int:
        return self.recipe.epochs * self.steps_per_epoch

    @property
    def warmup_steps(self) -> int:
        return round(self.recipe.warmup_share * self.steps)

    def rate(self, step: int) -> float:
        """The learning rate of a step, from 0."""
        recipe, warmup = self.recipe, self.warmup_steps
        if step < warmup:
            return recipe.warmup_rate + (self.learning_rate - recipe.warmup_rate) * step / warmup
        match recipe.decay:
            case "none":
                return self.learning_rate
            case "epoch":
                done = step // self.steps_per_epoch / recipe.epochs
            case "step":
                done = (step - warmup) / max(1, self.steps - warmup)
        cosine = (1 + math.cos(math.pi * done)) / 2
        return self.learning_rate * (recipe.final_share + (1 - recipe.final_share) * cosine)


def resolve(recipe: Recipe, arch: ArchConfig, images: int) -> Plan:
    """The plan of training `arch` on so many images.

    An epoch is whole batches that hold at least the images it asks for.
    """
    published_rate, published_decay = _published(arch)
    steps_per_epoch = _steps(recipe, recipe.images_per_epoch or images)
    return Plan(
        recipe=recipe,
        images=images,
        learning_rate=_scale(recipe) * (recipe.learning_rate or published_rate),
        weight_decay=published_decay if recipe.weight_decay is None else recipe.weight_decay,
        steps_per_epoch=steps_per_epoch,
        ema_decay=1 - _ema_momentum(recipe, steps_per_epoch),
    )


def _ema_momentum(recipe: Recipe, steps_per_epoch: int) -> float:
    """Large enough that the first weights are forgotten at the end, also in a short training."""
    steps = recipe.epochs * steps_per_epoch
    if recipe.ema_momentum is None:
        return 1 / max(1.0, min(steps_per_epoch, _AVERAGED * steps))
    return max(recipe.ema_momentum, 1 / max(1.0, _AVERAGED_AT_MOST * steps))


def _scale(recipe: Recipe) -> float:
    """Of the learning rate, for another batch size than it is for.

    By the ratio for SGD (Goyal et al., arXiv 1706.02677), by its root for Adam (Malladi et al., 2205.10287).
    """
    if recipe.rate_batch is None:
        return 1.0
    ratio = recipe.batch_size / recipe.rate_batch
    return ratio if recipe.optimizer == "sgd" else math.sqrt(ratio)


def _published(arch: ArchConfig) -> tuple[float, float]:
    """Rate and decay of the published widths, interpolated by parameters; all on a logarithmic scale."""
    sizes = [_size(published_networks()[f"mobilevitv2-{width}"]) for width in _PUBLISHED]
    rate, decay = (
        np.interp(_size(arch), sizes, np.log(values)) for values in zip(*_PUBLISHED.values(), strict=True)
    )
    return float(np.exp(rate)), float(np.exp(decay))


def _size(arch: ArchConfig) -> float:
    return math.log(network_cost(arch, IMAGENET).params)
