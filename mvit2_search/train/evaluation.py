"""The accuracy of a trained network or of an exported file, with its interval and by class."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path

import numpy as np

from mvit2_search.arch import ChannelOrder
from mvit2_search.errors import MeasurementError, SpecError, TrainingError, first_line
from mvit2_search.export.formats import FORMATS, open_artifact
from mvit2_search.task.data.dataset import Images, to_input
from mvit2_search.task.data.full import FullData, load_tests
from mvit2_search.task.data.load import check_faults, fault_notes
from mvit2_search.train.checkpoint import best_checkpoint
from mvit2_search.train.loop import network_outputs
from mvit2_search.train.saved import trained_network

_Z = 1.959964  # of 95 %
_TOP = 5
_AT_A_TIME = 128  # images that a file is given


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """So many of so many images, in percent, with Wilson's 95 % interval (J. Am. Stat. Assoc. 22, 1927)."""

    right: int
    of: int

    @property
    def pct(self) -> float:
        return 100 * self.right / self.of

    @property
    def interval_pct(self) -> tuple[float, float]:
        share, squared = self.right / self.of, _Z**2 / self.of
        half = _Z * sqrt(share * (1 - share) / self.of + squared / (4 * self.of))
        low, high = ((share + squared / 2 + sign * half) / (1 + squared) for sign in (-1, 1))
        return 100 * max(0.0, low), 100 * min(1.0, high)


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """How a network did on the images of a data set that are to test on.

    Attributes:
        size, source_size: side of the squares that it was given, and of the images that they were cut from.
        top5: None if there are fewer than six classes.
        notes: what a user should know of the images, in sentences.
    """

    what: str
    data: str
    size: int
    source_size: int
    top1: Share
    top5: Share | None
    classes: dict[str, Share]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tested:
    """What can be evaluated: its classes, the sizes that it takes, and its outputs for images."""

    classes: int
    names: tuple[str, ...] | None
    size: int
    source_size: int
    outputs: Callable[[Images], Iterator[tuple[np.ndarray, np.ndarray]]]  # with the places of their images


def evaluate_network(what: str, data: str, *, device: str, results: Path) -> Evaluation:
    """Test a training's folder, one of its checkpoints or an exported file on the test images of `data`.

    The short side of an image is scaled to the source size, bicubically, and its central square is tested. The
    sizes are those of the recipe; of a file, the published ones: 288 for 256 pixels, and in that proportion, but
    the size itself from 384 on.

    Raises:
        SpecError: there is no such thing, or its classes are not those of the data.
        StorageError: a checkpoint is damaged.
        DataError: the images cannot be used.
        TrainingError: a checkpoint's outputs are not finite, or torch cannot compute them.
        MeasurementError: a file is damaged or cannot be run, or its outputs are not finite.
        BackendUnavailable: what runs it is missing.
    """
    path = Path(what)
    tested = _of_file(path) if path.suffix[1:] in FORMATS else _of_checkpoint(path, device)
    images = load_tests(data, size=tested.source_size, results=[results])
    if fault := images.class_fault(what, tested.classes, tested.names):
        raise SpecError(f"{fault}; give images of the same classes")
    try:
        known = {*images.test.faults}
        good, outputs = zip(*tested.outputs(images.test), strict=True)
    except RuntimeError as err:  # torch's own, out of memory among them
        raise TrainingError(f"{type(err).__name__}: {first_line(err)}") from err
    check_faults(images.name, images.test.faults, len(images.test))
    labels_N = images.test.labels_N[np.concatenate(good)]
    later = {path: why for path, why in images.test.faults.items() if path not in known}
    images = replace(images, notes=(*images.notes, *fault_notes(later, len(images.test))))
    return _evaluation(what, tested, images, labels_N, np.concatenate(outputs))


def _evaluation(
    what: str, tested: _Tested, data: FullData, labels_N: np.ndarray, outputs_NK: np.ndarray
) -> Evaluation:
    rank_N = _ranks(outputs_NK, labels_N)
    right_N = rank_N == 0
    by_class = {
        name: Share(right=int(right_N[labels_N == label].sum()), of=int((labels_N == label).sum()))
        for label, name in enumerate(data.classes)
        if (labels_N == label).any()
    }
    count = len(labels_N)
    return Evaluation(
        what=what,
        data=data.name,
        size=tested.size,
        source_size=tested.source_size,
        top1=Share(right=int(right_N.sum()), of=count),
        top5=Share(right=int((rank_N < _TOP).sum()), of=count) if tested.classes > _TOP else None,
        classes=by_class,
        notes=data.notes,
    )


def _ranks(outputs_NK: np.ndarray, labels_N: np.ndarray) -> np.ndarray:
    """How many classes are named before the right one; of equal ones, the first is named first."""
    labels_N1 = labels_N[:, None]
    own_N1 = np.take_along_axis(outputs_NK, labels_N1, 1)
    before_NK = np.arange(outputs_NK.shape[1]) < labels_N1
    ranks_N: np.ndarray = ((outputs_NK > own_N1) | ((outputs_NK == own_N1) & before_NK)).sum(1)
    return ranks_N


def _of_checkpoint(path: Path, device: str) -> _Tested:
    model, state = trained_network(best_checkpoint(path))
    recipe, names = state.inputs.recipe, state.inputs.classes
    model = model.to(device)

    def outputs(images: Images) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for places, batch in network_outputs(model, images, device, recipe.image_size):
            yield places, batch.cpu().numpy()

    return _Tested(
        classes=len(names), names=names, size=recipe.image_size, source_size=recipe.source_size, outputs=outputs
    )


def _of_file(path: Path) -> _Tested:
    artifact = open_artifact(path)
    takes, gives = artifact.input_shape[1:], artifact.output_shape[1:]
    size, format = takes[-1], FORMATS[artifact.format].load()
    if takes != (3, size, size) or size < 1 or len(gives) != 1:
        raise SpecError(f"{path}: takes {[*takes]} and gives {[*gives]}; expected square images and classes")
    order: ChannelOrder = "BGR" if artifact.convention.startswith("BGR") else "RGB"

    def outputs(images: Images) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(images), _AT_A_TIME):
            places = range(start, min(start + _AT_A_TIME, len(images)))
            pixels_NSSC, good_N = images.squares(places, size)
            if not len(good_N):
                continue
            found = format.run(artifact, to_input(pixels_NSSC, order).numpy())
            if not np.isfinite(found).all():
                raise MeasurementError(f"{path}: its outputs are not finite")
            yield start + good_N, found

    return _Tested(
        classes=gives[0],
        names=None,
        size=size,
        source_size=size if size >= 384 else round(size * 288 / 256),
        outputs=outputs,
    )
