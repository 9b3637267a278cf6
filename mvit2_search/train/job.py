"""What a full training is to do, checked before it begins."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from mvit2_search.arch import ArchConfig
from mvit2_search.errors import SpecError
from mvit2_search.records import Recipe, TeacherInputs, TrainingInputs
from mvit2_search.task.data.cache import image_cache
from mvit2_search.task.data.full import FullData, load_full
from mvit2_search.train.checkpoint import file_sha256
from mvit2_search.train.device import default_workers, resolve_train_device
from mvit2_search.train.loop import PRECISIONS, Execution, Precision
from mvit2_search.train.plan import Plan, resolve
from mvit2_search.train.ranks import ALONE, Ranks
from mvit2_search.train.start import starting_weights, weights_file
from mvit2_search.train.teacher import Teacher, open_teacher


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingJob:
    """A full training, ready to begin or to go on.

    Attributes:
        weights: state dict to start from; what it lacks is random.
        results: folder of results, in which the teacher's outputs are kept.
    """

    inputs: TrainingInputs
    data: FullData
    folder: Path
    execution: Execution
    plan: Plan
    weights: Mapping[str, Tensor] | None = None
    teacher: Teacher | None = None
    results: Path = Path("results")


def prepare_training(
    arch: ArchConfig,
    recipe: Recipe,
    *,
    data: str,
    out: Path,
    init: Path | None = None,
    teacher: str | None = None,
    teacher_temperature: float = 1.0,
    teacher_weight: float = 1.0,
    seed: int = 0,
    train_on: str = "auto",
    precision: Precision = "auto",
    accumulate: int = 1,
    compiled: bool = False,
    workers: int | None = None,
    ranks: Ranks = ALONE,
    cache_gb: float = 10.0,
    results: Path = Path("results"),
) -> TrainingJob:
    """Read the images and the weights to start from, and check that all fits together.

    Args:
        teacher: see `open_teacher`.
        workers: None for those that `default_workers` gives.
        cache_gb: gigabytes of decoded images that `results` may keep.
        results: a folder of results, which may be among the images and is not read.

    Raises:
        SpecError: the settings, the weights or the teacher do not fit the network, or each other.
        BackendUnavailable: the device is not on this machine, or what the teacher needs.
        DataError: the images cannot be used.
    """
    device = ranks.device(resolve_train_device(train_on))
    if precision not in PRECISIONS:
        raise SpecError(f"`precision` {precision!r}: expected one of {', '.join(PRECISIONS)}")
    _check_parts(recipe, accumulate, ranks.world)
    asked = TeacherInputs(weights="", temperature=teacher_temperature, weight=teacher_weight)
    known = None if teacher is None else open_teacher(teacher, device=device)
    images = load_full(
        data,
        size=recipe.source_size,
        whole=recipe.crop_area < 1,
        results=[results],
        cache=image_cache(results, cache_gb),
    )
    if known and (fault := images.class_fault(f"`teacher` {known.name}", known.classes, known.names)):
        raise SpecError(f"{fault}; give a teacher of the same classes, in the same order")
    weights = None if init is None else starting_weights(init, arch, images.task.head)
    return TrainingJob(
        inputs=TrainingInputs(
            arch=arch,
            recipe=recipe,
            seed=seed,
            data=images.fingerprint,
            classes=images.classes,
            init=None if init is None else file_sha256(weights_file(init)),
            teacher=replace(asked, weights=known.sha256) if known else None,
        ),
        data=images,
        folder=out,
        execution=Execution(
            device=device,
            precision=precision,
            accumulate=accumulate,
            compile=compiled,
            workers=default_workers(device, ranks.world) if workers is None else workers,
            ranks=ranks,
        ),
        plan=resolve(recipe, arch, len(images.train)),
        weights=weights,
        teacher=known,
        results=results,
    )


def _check_parts(recipe: Recipe, accumulate: int, world: int) -> None:
    """Raises SpecError where a batch cannot be divided over processes, and there into so many parts."""
    multiple = accumulate * world * (2 if recipe.mixes else 1)
    if recipe.batch_size % multiple:
        why = f"`accumulate` {accumulate}, {world} processes" + (", pairs are mixed" if recipe.mixes else "")
        raise SpecError(f"`batch_size` {recipe.batch_size}: expected a multiple of {multiple} ({why})")
