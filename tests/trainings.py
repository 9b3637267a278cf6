"""Full trainings of a tiny network on a few random images, in this process or in forked ones: helper of tests."""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from forks import in_fork
from mvit2_search.arch import ArchConfig
from mvit2_search.records import Recipe, TrainingInputs
from mvit2_search.task.data.dataset import Split
from mvit2_search.task.data.full import FullData
from mvit2_search.train.full import TrainingJob, train_fully
from mvit2_search.train.loop import Execution
from mvit2_search.train.plan import resolve

ARCH = ArchConfig.mobilevitv2(0.25, image_size=32)
RECIPE = Recipe(epochs=2, image_size=32, images_per_epoch=24, batch_size=8, warmup_share=0.5)


class Quiet:
    """A listener that remembers."""

    def __init__(self):
        self.warnings, self.rows, self.began_at = [], [], None

    def started(self, plan, state):
        self.began_at = state.done

    def stepped(self, done, plan):
        pass

    def epoch_ended(self, row, rows):
        self.rows.append(row)

    def warned(self, text):
        self.warnings.append(text)


def random_split(count: int, size: int, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    pixels_NSSC = rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return Split(pixels_NSSC=pixels_NSSC, labels_N=np.arange(count) % 2)


def job_in(
    folder: Path, *, arch: ArchConfig = ARCH, recipe: Recipe = RECIPE, seed: int = 0, **execution
) -> TrainingJob:
    """Two classes, 20 training images and 12 to test on."""
    data = FullData(
        name="noise",
        classes=("a", "b"),
        train=random_split(20, recipe.source_size, 1),
        test=random_split(12, recipe.source_size, 2),
        fingerprint="noise",
    )
    return TrainingJob(
        inputs=TrainingInputs(arch=arch, recipe=recipe, seed=seed, data=data.fingerprint, classes=data.classes),
        data=data,
        folder=folder,
        execution=Execution(device="cpu", **execution),
        plan=resolve(recipe, arch, len(data.train)),
    )


class Stop(BaseException):
    """Somebody stopped the training."""


def stopping_after(steps: int) -> Callable[[], None]:
    """Raises Stop when it is called once more than so many times."""
    left = steps

    def check() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Stop

    return check


def trained(folder: Path, **job):
    """The state at the end."""
    return train_fully(job_in(folder, **job), listener=Quiet())


def trained_in_fork(folder: Path, **job) -> int:
    return in_fork(lambda: alone(lambda: trained(folder, **job)))


def alone(work: Callable[[], object]) -> None:
    """In a forked process: with one thread, as those of the process before are not there."""
    torch.set_num_threads(1)
    work()


def results(folder: Path) -> tuple[list[object], dict[str, bytes]]:
    """What a training came to: its rows without times, and its weights, of the last and of the best."""
    from mvit2_search.train.saved import saved_state

    files = (
        "checkpoint-last/model",
        "checkpoint-last/averaged",
        "checkpoint-last/optimizer",
        "checkpoint-best/averaged",
    )
    rows = [replace(row, seconds=0.0) for row in saved_state(folder / "checkpoint-last").rows]
    return rows, {name: (folder / f"{name}.safetensors").read_bytes() for name in files}


def die_at(operation: int, folder: Path) -> None:
    """Leave this process without a word before such a change of a file in `folder`, counted from 0."""
    left, place = operation, str(folder)

    def hook(event: str, arguments: tuple) -> None:
        nonlocal left
        if event in {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod"}:
            changes = True
        else:
            changes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        path = str(arguments[0])
        if changes and (path.startswith(place) or not path.startswith("/")):  # as in shutil.rmtree
            left -= 1
            if left < 0:
                os._exit(137)

    sys.addaudithook(hook)


def damage(file: Path, kind: str) -> None:
    if kind == "missing":
        file.unlink()
        return
    content = file.read_bytes()
    middle = len(content) // 2
    flipped = bytes([content[middle] ^ 1])
    changed = {
        "truncated": content[:middle],
        "flipped": content[:middle] + flipped + content[middle + 1 :],
        "emptied": b"",
    }
    file.write_bytes(changed[kind])
