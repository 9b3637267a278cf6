"""What a teacher says of each batch: computed once, and kept for all trainings that draw the same images.

A file has a block for each step, one after another: a check, then a row for each image with the classes that the
teacher finds likeliest and the logarithms of their probabilities. A block whose check is not that of its rows, its
images and of four rows of pixels of each counts as not there. So it may be torn, lost or written by several at
once, and images that are drawn or changed in another way than before are found out.
"""

import hashlib
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mvit2_search.records import Recipe, TeacherInputs
from mvit2_search.store.folders import TEACHERS
from mvit2_search.train.loader import Batch
from mvit2_search.train.loop import Execution
from mvit2_search.train.teacher import Teacher

_FORMAT = 1  # another one where rows, or how a teacher is given images, change
_LIKELIEST = 10  # classes; all others share the rest evenly
_CHECK = 16  # bytes
_SAMPLE = 4  # rows of pixels of each image
_CHANGES = (  # settings of a recipe that say what a drawn image looks like
    *("batch_size", "image_size", "test_crop", "crop_area", "flip"),
    *("randaugment_ops", "randaugment_magnitude", "erasing"),
)


def row_of(classes: int) -> np.dtype[Any]:
    """What is kept of an image: the last of `logs` is for each class that is not among `classes`."""
    kept = min(classes, _LIKELIEST)
    number = np.min_scalar_type(classes - 1).newbyteorder("<")
    return np.dtype([("classes", number, (kept,)), ("logs", "<f2", (kept + 1,))])


def packed(outputs_NK: Tensor) -> np.ndarray:
    """Logits as rows of `row_of`."""
    log_NK = outputs_NK.float().cpu().log_softmax(1)
    count, classes = log_NK.shape
    rows = np.empty(count, row_of(classes))
    top = log_NK.topk(min(classes, _LIKELIEST))
    others_NK = log_NK.scatter(1, top.indices, -math.inf)
    rest_N1 = others_NK.logsumexp(1, keepdim=True) - math.log(max(1, classes - _LIKELIEST))
    rows["classes"] = top.indices.numpy()
    rows["logs"] = torch.cat([top.values, rest_N1], 1).half().numpy()
    return rows


def unpacked(rows: np.ndarray, classes: int) -> Tensor:
    """Logarithms of probabilities [N, K]."""
    logs = torch.from_numpy(rows["logs"].astype(np.float32))
    named = torch.from_numpy(rows["classes"].astype(np.int64))
    return logs[:, -1:].repeat(1, classes).scatter(1, named, logs[:, :-1])


class KeptOutputs:
    """Rows of batches, in a file of a process that computes one part of each.

    Args:
        about: all that the rows follow from, which names their folder.
        count: images of the part.
        warn: told once, if the disk takes no more or cannot be read; nothing is kept from then on.
    """

    def __init__(
        self,
        results: Path,
        about: dict[str, Any],
        *,
        rank: int,
        count: int,
        classes: int,
        warn: Callable[[str], None],
    ) -> None:
        self._about = json.dumps(about, indent=1, sort_keys=True)
        self.folder = results / TEACHERS / hashlib.sha256(self._about.encode()).hexdigest()[:16]
        self._path = self.folder / f"{rank}.rows"
        self._row, self._length = row_of(classes), _block_bytes(count, classes)
        self._warn, self._keeps = warn, True

    def get(self, step: int, batch: Batch) -> np.ndarray | None:
        """The rows of the batch of a step; None if they are not known."""
        try:
            with self._path.open("rb") as file:
                file.seek(step * self._length)
                block = file.read(self._length)
        except FileNotFoundError:
            return None
        except OSError as err:
            self._give_up("read", err.strerror)
            return None
        check, content = block[:_CHECK], block[_CHECK:]
        is_whole = len(block) == self._length and check == _check(batch, content)
        return np.frombuffer(content, self._row) if is_whole else None

    def put(self, step: int, batch: Batch, rows: np.ndarray) -> None:
        """Keep them, if there is room."""
        if not self._keeps:
            return
        content = rows.tobytes()
        try:
            if not self._path.exists():
                self.folder.mkdir(parents=True, exist_ok=True)
                (self.folder / "about.json").write_text(f"{self._about}\n")
            with os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o666), "wb") as file:
                file.seek(step * self._length)
                file.write(_check(batch, content) + content)
        except OSError as err:
            self._give_up("write", err.strerror)

    def _give_up(self, what: str, why: str | None) -> None:
        if self._keeps:
            self._warn(f"{self.folder}: cannot {what}: {why}; the teacher's outputs are computed and not kept")
        self._keeps = False


def _block_bytes(count: int, classes: int) -> int:
    return _CHECK + count * row_of(classes).itemsize


def _check(batch: Batch, content: bytes) -> bytes:
    apart = max(1, batch.pixels_NSSC.shape[1] // _SAMPLE)
    sample = batch.pixels_NSSC[:, apart // 2 :: apart].numpy().tobytes()
    found = hashlib.blake2b(batch.drawn_N2.numpy().tobytes(), digest_size=_CHECK)
    found.update(sample)
    found.update(content)
    return found.digest()


def kept_outputs(
    teacher: Teacher,
    recipe: Recipe,
    *,
    seed: int,
    data: str,
    execution: Execution,
    results: Path,
    warn: Callable[[str], None],
) -> KeptOutputs:
    """Where a teacher's outputs for the images of a training are kept.

    The number of images that are computed together, the precision and the device change their last bits.

    Args:
        data: fingerprint of the images.
    """
    ranks = execution.ranks
    about = {
        "format": _FORMAT,
        "teacher": teacher.sha256,
        "data": data,
        "seed": seed,
        "processes": ranks.world,
        "precision": execution.resolved_precision,
        "device": execution.device.partition(":")[0],
        **{name: getattr(recipe, name) for name in _CHANGES},
    }
    count = recipe.batch_size // ranks.world
    return KeptOutputs(results, about, rank=ranks.rank, count=count, classes=teacher.classes, warn=warn)


def kept_bytes(teacher: Teacher, recipe: Recipe, steps: int) -> int:
    """What the kept outputs of so many steps in one process take on disk."""
    return steps * _block_bytes(recipe.batch_size, teacher.classes)


class TaughtLessons:
    """A teacher's outputs as something to learn: `Lessons` of `train.loop`.

    Args:
        kept: None to keep nothing.
    """

    def __init__(
        self, teacher: Teacher, asked: TeacherInputs, *, execution: Execution, kept: KeptOutputs | None
    ) -> None:
        self.weight = asked.weight
        self._temperature, self._teacher = asked.temperature, teacher
        self._execution, self._kept = execution, kept

    def targets(self, step: int, batch: Batch) -> Tensor:
        rows = self._rows(step, batch)
        log_NK = unpacked(rows, self._teacher.classes)
        return (log_NK / self._temperature).softmax(1).to(self._execution.device)

    def _rows(self, step: int, batch: Batch) -> np.ndarray:
        """Kept ones, or new ones: what is learned is the same."""
        if self._kept is not None and (rows := self._kept.get(step, batch)) is not None:
            return rows
        with self._execution.autocast():
            rows = packed(self._teacher.outputs(batch.pixels_NSSC))
        if self._kept is not None:
            self._kept.put(step, batch, rows)
        return rows

    def loss(self, outputs_NK: Tensor, targets_NK: Tensor) -> Tensor:
        log_NK = (outputs_NK / self._temperature).log_softmax(1)
        return self._temperature**2 * F.kl_div(log_NK, targets_NK, reduction="batchmean")
