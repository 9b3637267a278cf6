"""The proxy that trains nothing, or little: a network is a slice of weights that many share."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mvit2_search.arch import ATTENTION_STAGES, ArchConfig
from mvit2_search.errors import SpecError, TrainingError, first_line
from mvit2_search.models import MobileViT
from mvit2_search.models.slices import extract, slice_fault
from mvit2_search.records import Recipe
from mvit2_search.space import SearchSpace
from mvit2_search.task.data.dataset import Dataset, to_input
from mvit2_search.train.family import narrowest, widest
from mvit2_search.train.loader import Batch
from mvit2_search.train.loop import Execution, evaluate, settle_statistics, train_epochs
from mvit2_search.train.proxies import EpochScore, Part, ShortTrain, with_own_randomness
from mvit2_search.train.shared import SharedWeights

_LEAST_TESTED = 1_000  # images, of every score but the last


class Inherited:
    """Scores a network with the weights that it shares, after epochs of fine-tuning if there is a recipe for them.

    Batch statistics are estimated anew (`settle_statistics`): those of the largest network are of other channels.
    In fine-tuning a network learns from the labels and from what the largest says. The first score is that of the
    inherited weights, each epoch of fine-tuning adds one, and the last is on all images.

    The seed changes the fine-tuning alone. A confirmation, which is to tell networks from seeds, is therefore a
    short training from scratch.

    Args:
        short: for confirmations.
        tuning: None for no fine-tuning.
        weight: of the largest network in the loss of the fine-tuning, from 0 to 1.
        between: called between training steps; may raise to end the training.

    Raises:
        SpecError: the weights are for images of another size than the fine-tuning or the short trainings.
    """

    def __init__(
        self,
        shared: SharedWeights,
        *,
        device: str,
        short: ShortTrain,
        tuning: Recipe | None = None,
        weight: float = 0.5,
        between: Callable[[], None] = lambda: None,
    ) -> None:
        self.shared, self.device, self.short, self.tuning, self.weight = shared, device, short, tuning, weight
        self._between = between
        size = shared.inputs.recipe.image_size
        for recipe in (short.recipe, *([tuning] if tuning else [])):
            if recipe.image_size != size:
                raise SpecError(f"`image_size` {recipe.image_size}: the shared weights are for {size} pixels")

    def run(self, arch: ArchConfig, dataset: Dataset, *, seed: int, test_on: Part) -> Iterator[EpochScore]:
        """Raises TrainingError where the network is no slice of the shared weights, and why."""
        if test_on == "confirmation":
            yield from self.short.run(arch, dataset, seed=seed, test_on=test_on)
            return
        try:
            yield from with_own_randomness(self._scores(arch, dataset, seed), seed=seed, device=self.device)
        except RuntimeError as err:  # torch's own, out of memory among them
            raise TrainingError(f"{type(err).__name__}: {first_line(err)}") from err

    def _scores(self, arch: ArchConfig, dataset: Dataset, seed: int) -> Iterator[EpochScore]:
        self.check(dataset)
        if fault := slice_fault(self.shared.inputs.arch, arch):
            raise TrainingError(f"it inherits no weights: {fault}")
        model = self.network(arch, dataset)
        epochs = self.tuning.epochs if self.tuning else 0
        yield self._score(0, model, dataset, is_last=not epochs)
        if self.tuning:
            for epoch, averaged in self._tuned(model, dataset, self.tuning, seed):
                settle_statistics(averaged, dataset.train, device=self.device)
                yield self._score(epoch, averaged, dataset, is_last=epoch == epochs)

    def network(self, arch: ArchConfig, dataset: Dataset) -> MobileViT:
        """The slice as a network of its own, with statistics of the training images."""
        shared = self.shared
        model = extract(shared.tensors, shared.inputs.arch, arch, dataset.task.head).to(self.device)
        settle_statistics(model, dataset.train, device=self.device)
        return model

    def _tuned(
        self, model: MobileViT, dataset: Dataset, recipe: Recipe, seed: int
    ) -> Iterator[tuple[int, MobileViT]]:
        lessons = FromLargest(self.network(self.shared.inputs.arch, dataset), self.weight, self.device)
        return train_epochs(
            model,
            dataset.train,
            recipe,
            task=dataset.task,
            seed=seed,
            device=self.device,
            lessons=lessons,
            between=self._between,
        )

    def _score(self, epoch: int, model: MobileViT, dataset: Dataset, *, is_last: bool) -> EpochScore:
        images = dataset.selection if is_last else dataset.selection.first(_LEAST_TESTED)
        reached = evaluate(model, images, dataset.task, device=self.device)
        balanced = reached.balanced if dataset.is_unbalanced else None
        return EpochScore(epoch=epoch + 1, score=reached.score, balanced=balanced)

    def check(self, dataset: Dataset) -> None:
        """Raises SpecError where the weights are of other images, of which some may be those to test on."""
        if (self.shared.inputs.data, self.shared.inputs.classes) != (dataset.fingerprint, dataset.classes):
            raise SpecError(
                f"the shared weights were trained on other images than those of {dataset.name} in this search; "
                "train them anew"
            )

    def blind_spots(self, space: SearchSpace) -> list[str]:
        refuse_uninheritable(space, self.shared.inputs.arch)
        return self.short.blind_spots(space)

    def settings(self) -> dict[str, Any]:
        return {
            "proxy": "inherited",
            "weights": self.shared.sha256,
            "batch_statistics": "settled",
            "image_size": self.shared.inputs.recipe.image_size,
            "tuning": asdict(self.tuning) if self.tuning else None,
            "from_largest": self.weight if self.tuning else None,
            "train_on": self.device,
            "precision": Execution(device=self.device).resolved_precision,
            "confirmation": self.short.settings(),
        }


def refuse_uninheritable(space: SearchSpace, maximal: ArchConfig) -> None:
    """Raises SpecError, with the reason, where some networks of a space are no slices of `maximal`."""
    for fault in _faults(space, maximal):
        raise SpecError(f"space {space.name!r}: {fault}")


def _faults(space: SearchSpace, maximal: ArchConfig) -> Iterator[str]:
    """Why some networks of a space are no slices."""
    for stage in ATTENTION_STAGES:
        if 0 in (layers := space.values("attention_layers", stage)) and max(layers) > 0:
            yield (
                f"attention_layers: 0 in stage {stage} leaves out the block whose weights are shared; give at "
                "least 1, or search with short trainings"
            )
        if others := [name for name in space.values("attention", stage) if name != "separable"]:
            yield f"attention: {others[0]} in stage {stage} inherits no weights; search with short trainings"
    yield from filter(None, (slice_fault(maximal, arch) for arch in (narrowest(space), widest(space))))


class FromLargest:
    """What the largest network says of each batch: `Lessons` of `train.loop`."""

    def __init__(self, largest: MobileViT, weight: float, device: str) -> None:
        self.weight = weight
        self._largest, self._device = largest, device

    @torch.no_grad()
    def targets(self, step: int, batch: Batch) -> Tensor:
        order = self._largest.arch.channel_order
        targets_NK: Tensor = self._largest(to_input(batch.pixels_NSSC.numpy(), order, self._device)).softmax(1)
        return targets_NK

    def loss(self, outputs_NK: Tensor, targets_NK: Tensor) -> Tensor:
        return F.kl_div(outputs_NK.log_softmax(1), targets_NK, reduction="batchmean")
