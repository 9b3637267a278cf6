"""What a full training is to do, checked before it begins."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from mvit2_search.arch import ArchConfig
from mvit2_search.errors import SpecError
from mvit2_search.records import Recipe, TrainingInputs
from mvit2_search.task.data.full import FullData, load_full
from mvit2_search.train.checkpoint import file_sha256
from mvit2_search.train.device import resolve_train_device
from mvit2_search.train.loop import PRECISIONS, Execution, Precision
from mvit2_search.train.plan import Plan, resolve
from mvit2_search.train.ranks import ALONE, Ranks
from mvit2_search.train.start import starting_weights, weights_file


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingJob:
    """A full training, ready to begin or to go on.

    Attributes:
        weights: state dict to start from; what it lacks is random.
    """

    inputs: TrainingInputs
    data: FullData
    folder: Path
    execution: Execution
    plan: Plan
    weights: Mapping[str, Tensor] | None = None


def prepare_training(
    arch: ArchConfig,
    recipe: Recipe,
    *,
    data: str,
    out: Path,
    init: Path | None = None,
    seed: int = 0,
    train_on: str = "auto",
    precision: Precision = "auto",
    accumulate: int = 1,
    compiled: bool = False,
    workers: int = 0,
    ranks: Ranks = ALONE,
    results: Path = Path("results"),
) -> TrainingJob:
    """Read the images and the weights to start from, and check that all fits together.

    Args:
        results: a folder of results, which may be among the images and is not read.

    Raises:
        SpecError: the settings or the weights do not fit the network, or each other.
        BackendUnavailable: the device is not on this machine.
        DataError: the images cannot be used.
    """
    device = ranks.device(resolve_train_device(train_on))
    if precision not in PRECISIONS:
        raise SpecError(f"`precision` {precision!r}: expected one of {', '.join(PRECISIONS)}")
    _check_parts(recipe, accumulate, ranks.world)
    images = load_full(data, size=recipe.source_size, results=[results])
    weights = None if init is None else starting_weights(init, arch, images.task.head)
    return TrainingJob(
        inputs=TrainingInputs(
            arch=arch,
            recipe=recipe,
            seed=seed,
            data=images.fingerprint,
            classes=images.classes,
            init=None if init is None else file_sha256(weights_file(init)),
        ),
        data=images,
        folder=out,
        execution=Execution(
            device=device,
            precision=precision,
            accumulate=accumulate,
            compile=compiled,
            workers=workers,
            ranks=ranks,
        ),
        plan=resolve(recipe, arch, len(images.train)),
        weights=weights,
    )


def _check_parts(recipe: Recipe, accumulate: int, world: int) -> None:
    """Raises SpecError where a batch cannot be divided over processes, and there into so many parts."""
    multiple = accumulate * world * (2 if recipe.mixes else 1)
    if recipe.batch_size % multiple:
        why = f"`accumulate` {accumulate}, {world} processes" + (", pairs are mixed" if recipe.mixes else "")
        raise SpecError(f"`batch_size` {recipe.batch_size}: expected a multiple of {multiple} ({why})")
