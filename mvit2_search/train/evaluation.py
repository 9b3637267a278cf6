"""The accuracy of a trained network or of an exported file, with its interval and by class."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import numpy as np

from mvit2_search.arch import ChannelOrder
from mvit2_search.errors import SpecError, StorageError
from mvit2_search.export.formats import FORMATS, open_artifact
from mvit2_search.task.data.dataset import Split, centre, to_input
from mvit2_search.task.data.full import FullData, load_full
from mvit2_search.train.checkpoint import BEST, STATE, checkpoint_fault, newest_checkpoint
from mvit2_search.train.full import trained_network
from mvit2_search.train.loop import network_outputs

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
    """

    what: str
    data: str
    size: int
    source_size: int
    top1: Share
    top5: Share | None
    classes: dict[str, Share]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tested:
    """What can be evaluated: its classes, the sizes that it takes, and its outputs for images."""

    classes: int
    names: tuple[str, ...] | None
    size: int
    source_size: int
    outputs: Callable[[Split], Iterator[np.ndarray]]


def evaluate_network(what: str, data: str, *, device: str, results: Path) -> Evaluation:
    """Test a training's folder, one of its checkpoints or an exported file on the test images of `data`.

    The short side of an image is scaled to the source size, bicubically, and its central square is tested. The
    sizes are those of the recipe; of a file, the published ones: 288 for 256 pixels, and in that proportion, but
    the size itself from 384 on.

    Raises:
        SpecError: there is no such thing, or its classes are not those of the data.
        StorageError: a checkpoint is damaged.
        DataError: the images cannot be used.
        MeasurementError: a file is damaged or cannot be run.
        BackendUnavailable: what runs it is missing.
    """
    path = Path(what)
    tested = _of_file(path) if path.suffix[1:] in FORMATS else _of_checkpoint(path, device)
    images = load_full(data, size=tested.source_size, results=[results])
    _refuse_other_classes(what, tested, images)
    outputs_NK = np.concatenate(list(tested.outputs(images.test)))
    return _evaluation(what, tested, images, outputs_NK)


def _evaluation(what: str, tested: _Tested, data: FullData, outputs_NK: np.ndarray) -> Evaluation:
    labels_N = data.test.labels_N
    own_N1 = np.take_along_axis(outputs_NK, labels_N[:, None], 1)
    rank_N = (outputs_NK > own_N1).sum(1)  # classes that are taken for likelier
    right_N = outputs_NK.argmax(1) == labels_N
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
    )


def _refuse_other_classes(what: str, tested: _Tested, data: FullData) -> None:
    if tested.names is not None and tested.names != data.classes:
        other = next(iter({*tested.names} ^ {*data.classes}), "their order")
        raise SpecError(
            f"{what} knows {len(tested.names)} classes and {data.name} has {len(data.classes)}; one that "
            f"differs: {other}"
        )
    if tested.classes != len(data.classes):
        raise SpecError(f"{what} knows {tested.classes} classes, and {data.name} has {len(data.classes)}")


def _of_checkpoint(path: Path, device: str) -> _Tested:
    folder = path / BEST if (path / BEST).is_dir() else newest_checkpoint(path)[0] or path
    if not (folder / STATE).exists():
        raise SpecError(f"{path}: expected the folder of a training, one of its checkpoints, or an exported file")
    if fault := checkpoint_fault(folder):
        raise StorageError(fault)
    model, state = trained_network(folder)
    recipe, names = state.inputs.recipe, state.inputs.classes
    model = model.to(device)

    def outputs(split: Split) -> Iterator[np.ndarray]:
        for batch in network_outputs(model, split, device, recipe.image_size):
            yield batch.cpu().numpy()

    return _Tested(
        classes=len(names), names=names, size=recipe.image_size, source_size=recipe.source_size, outputs=outputs
    )


def _of_file(path: Path) -> _Tested:
    artifact = open_artifact(path)
    size, format = artifact.input_shape[-1], FORMATS[artifact.format].load()
    order: ChannelOrder = "BGR" if artifact.convention.startswith("BGR") else "RGB"

    def outputs(split: Split) -> Iterator[np.ndarray]:
        for start in range(0, len(split), _AT_A_TIME):
            pixels_NSSC = centre(split.pixels_NSSC[start : start + _AT_A_TIME], size)
            yield format.run(artifact, to_input(pixels_NSSC, order).numpy())

    return _Tested(
        classes=artifact.output_shape[-1],
        names=None,
        size=size,
        source_size=size if size >= 384 else round(size * 288 / 256),
        outputs=outputs,
    )
