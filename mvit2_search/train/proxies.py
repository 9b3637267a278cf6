"""Proxies: cheap estimates of how accurate an architecture will be, and the one there is, a short training."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import torch

from mvit2_search.arch import ATTENTION_STAGES, ArchConfig
from mvit2_search.errors import SpecError, TrainingError, first_line
from mvit2_search.models import build_model
from mvit2_search.records import Recipe, TeacherInputs
from mvit2_search.space import SearchSpace
from mvit2_search.task.data.dataset import Dataset
from mvit2_search.train.loop import Execution, evaluate, settle_statistics, train_epochs
from mvit2_search.train.taught import TaughtLessons, kept_outputs
from mvit2_search.train.teacher import Teacher

Part = Literal["selection", "confirmation"]  # of the images, to score on
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochScore:
    """How good an architecture is after one epoch."""

    epoch: int
    score: float  # the task's metric
    balanced: float | None = None  # its mean over the classes, where they are unbalanced and the proxy tells


class Proxy(Protocol):
    """Something that scores an architecture, better and better.

    Implementations promise:

    - `run` yields after each epoch; of a confirmation, the last epoch is enough. Not asking for the next score
      stops the training.
    - The last score is on all images of the part asked for, earlier ones may be on fewer.
    - Equal arguments give equal scores on one machine's CPU, also where several runs take turns. No run reads or
      changes the random state of the process.
    """

    def run(self, arch: ArchConfig, dataset: Dataset, *, seed: int, test_on: Part) -> Iterator[EpochScore]:
        """Raises TrainingError where there is no usable score.

        A search treats any other exception, and a score outside of 0 to 100, alike.
        """

    def blind_spots(self, space: SearchSpace) -> list[str]:
        """What this proxy cannot tell apart, in sentences for the user.

        Raises:
            SpecError: the space moves a setting that makes no difference to this proxy at all.
        """

    def settings(self) -> dict[str, Any]:
        """Everything that the scores depend on, as JSON."""


_ATTENTION_SETTINGS = {"attention_layers", "attention", "patch_size"}
_LEAST_TESTED = 1_000  # after every epoch but the last


@dataclass(frozen=True, kw_only=True, slots=True)
class Taught:
    """A teacher of short trainings, which is asked once about each image that they draw: all draw the same.

    Attributes:
        results: folder of results, in which its outputs are kept.
    """

    teacher: Teacher
    asked: TeacherInputs
    results: Path

    def check(self, dataset: Dataset) -> None:
        """Raises SpecError where the teacher has other classes than the images."""
        names, count = self.teacher.names, self.teacher.classes
        if names not in (None, dataset.classes) or count != len(dataset.classes):
            raise SpecError(
                f"`teacher` {self.teacher.name}: it has {count} classes, the images {len(dataset.classes)}, or "
                "others; give a teacher of the same classes, in the same order"
            )

    def lessons(self, recipe: Recipe, dataset: Dataset, *, seed: int, device: str) -> TaughtLessons:
        execution = Execution(device=device)
        kept = kept_outputs(
            self.teacher,
            recipe,
            seed=seed,
            data=dataset.fingerprint,
            execution=execution,
            results=self.results,
            warn=lambda text: None,  # what cannot be kept is computed again, and is the same
        )
        return TaughtLessons(self.teacher, self.asked, execution=execution, kept=kept)


class ShortTrain:
    """Trains from scratch by `recipe` on the torch device `device`, with a teacher if there is one.

    The last epoch is tested on all images. Earlier ones are tested on as many selection images as an epoch trains
    on, but at least 1,000, which takes a fifth of the time of training on them; a confirmation is tested at its
    end only.

    Tests use the averaged weights (`train_epochs`) with freshly estimated batch statistics (`settle_statistics`).
    `between` is called between training steps and may raise to end the training.
    """

    def __init__(
        self,
        recipe: Recipe,
        device: str,
        *,
        taught: Taught | None = None,
        between: Callable[[], None] = lambda: None,
    ) -> None:
        self.recipe, self.device, self.taught = recipe, device, taught
        self._between = between

    def run(self, arch: ArchConfig, dataset: Dataset, *, seed: int, test_on: Part) -> Iterator[EpochScore]:
        scores = self._scores(arch, dataset, seed=seed, test_on=test_on)
        try:
            yield from with_own_randomness(scores, seed=seed, device=self.device)
        except RuntimeError as err:  # torch's own, out of memory among them
            raise TrainingError(f"{type(err).__name__}: {first_line(err)}") from err

    def _scores(self, arch: ArchConfig, dataset: Dataset, *, seed: int, test_on: Part) -> Iterator[EpochScore]:
        images = dataset.selection if test_on == "selection" else dataset.confirmation
        some = images.first(max(_LEAST_TESTED, self.recipe.images_per_epoch or len(images)))
        model = build_model(arch, dataset.task.head)
        taught = self.taught
        lessons = taught.lessons(self.recipe, dataset, seed=seed, device=self.device) if taught else None
        epochs = train_epochs(
            model,
            dataset.train,
            self.recipe,
            task=dataset.task,
            seed=seed,
            device=self.device,
            lessons=lessons,
            between=self._between,
        )
        for epoch, averaged in epochs:
            is_last = epoch == self.recipe.epochs
            if test_on == "confirmation" and not is_last:
                continue
            settle_statistics(averaged, dataset.train, device=self.device)
            reached = evaluate(averaged, images if is_last else some, dataset.task, device=self.device)
            balanced = reached.balanced if dataset.is_unbalanced else None
            yield EpochScore(epoch=epoch, score=reached.score, balanced=balanced)

    def blind_spots(self, space: SearchSpace) -> list[str]:
        if any(axis.setting == "image_size" for axis in space.axes):
            raise SpecError(
                f"space {space.name!r}: image_size: the proxy trains every candidate at {self.recipe.image_size} "
                "pixels, so it cannot tell input sizes apart; give image_size one value"
            )
        return [
            f"at {self.recipe.image_size} pixels stage {stage} has one token per pixel position: the proxy sees "
            "its attention layers as feed-forward layers only"
            for stage in ATTENTION_STAGES
            if self._is_blind(space, stage)
        ]

    def _is_blind(self, space: SearchSpace, stage: int) -> bool:
        """Whether the space moves the attention of a stage whose map is one patch here."""
        moved = {axis.setting for axis in space.axes if axis.stage in (None, stage)}
        patch = max(space.values("patch_size", stage))
        return bool(moved & _ATTENTION_SETTINGS) and self.recipe.image_size <= int(patch) * 2**stage

    def settings(self) -> dict[str, Any]:
        return {
            "proxy": "short-train",
            "weights": "averaged",
            "batch_statistics": "settled",
            **asdict(self.recipe),
            "train_on": self.device,
            "precision": Execution(device=self.device).resolved_precision,
            **({"teacher": asdict(self.taught.asked)} if self.taught else {}),
        }


def with_own_randomness(steps: Iterator[T], *, seed: int, device: str) -> Iterator[T]:
    """The items of `steps`, computed as if `torch.manual_seed(seed)` had been called before the first.

    Between two items the process has its own random state back. So trainings may take turns in one process, and
    none changes what another one draws. (Threads share torch's state: they cannot draw at the same moment.)
    `steps` computes on `device`, and draws weights on the CPU.
    """
    devices = sorted({"cpu", device})
    states = [torch.Generator(one).manual_seed(seed).get_state() for one in devices]
    while True:
        outside = _swapped(devices, states)
        try:
            item = next(steps)
        except StopIteration:
            return
        finally:
            states = _swapped(devices, outside)
        yield item


def _swapped(devices: list[str], states: list[torch.Tensor]) -> list[torch.Tensor]:
    """Set the random states of `devices`; what they were."""
    before = []
    for device, state in zip(devices, states, strict=True):
        if device == "cpu":
            before.append(torch.get_rng_state())
            torch.set_rng_state(state)
        else:
            module = torch.get_device_module(device)  # torch.cuda or torch.mps
            before.append(module.get_rng_state(device))
            module.set_rng_state(state, device)
    return before
