"""Short training: the accuracy after a few small epochs stands for that after many."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Literal

import torch

from mvit2_search.arch import ArchConfig
from mvit2_search.data import Dataset
from mvit2_search.errors import SpecError, TrainingError
from mvit2_search.models import build_model
from mvit2_search.proxies.protocol import EpochScore
from mvit2_search.records import Recipe
from mvit2_search.space import Axis, SearchSpace
from mvit2_search.train import accuracy_pct, train_epochs

_CURVE_IMAGES = 1_000  # tested after every epoch but the last


class ShortTrain:
    """Trains from scratch by `recipe` on the torch device `device`."""

    def __init__(self, recipe: Recipe, device: str) -> None:
        self.recipe = recipe
        self.device = device

    def run(
        self, arch: ArchConfig, dataset: Dataset, *, seed: int, test_on: Literal["selection", "confirmation"]
    ) -> Iterator[EpochScore]:
        torch.manual_seed(seed)
        images = dataset.selection if test_on == "selection" else dataset.confirmation
        try:
            model = build_model(arch, len(dataset.classes))
            for epoch in train_epochs(model, dataset.train, self.recipe, seed=seed, device=self.device):
                tested = images if epoch == self.recipe.epochs else images.first(_CURVE_IMAGES)
                yield EpochScore(epoch=epoch, accuracy_pct=accuracy_pct(model, tested, device=self.device))
        except RuntimeError as err:  # torch's own, out of memory among them
            raise TrainingError(f"{type(err).__name__}: {str(err).splitlines()[0]}") from err

    def blind_spots(self, space: SearchSpace) -> list[str]:
        if any(axis.setting == "image_size" for axis in space.axes):
            raise SpecError(
                f"space {space.name!r}: image_size: the proxy trains every candidate at {self.recipe.image_size} "
                "pixels, so it cannot tell input sizes apart; give image_size one value"
            )
        stages = sorted({stage for axis in space.axes for stage in self._one_token_stages(axis)})
        return [
            f"at {self.recipe.image_size} pixels stage {stage} has one token per pixel position: the proxy sees "
            "its attention layers as feed-forward layers only"
            for stage in stages
        ]

    def _one_token_stages(self, axis: Axis) -> list[int]:
        if axis.setting not in ("attention_layers", "attention"):
            return []
        stages = (3, 4, 5) if axis.stage is None else (axis.stage,)
        return [stage for stage in stages if self.recipe.image_size <= 2 * 2**stage]

    def settings(self) -> dict[str, Any]:
        return {"proxy": "short-train", **asdict(self.recipe), "train_on": self.device}
