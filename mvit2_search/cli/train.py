"""`mvit2-search train`."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, fields
from difflib import get_close_matches
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import click

from mvit2_search.cli.interrupt import run_stoppable
from mvit2_search.cli.options import (
    TEACHER_OPTIONS,
    TRAIN_DATA_HELP,
    Place,
    cache_option,
    check_teacher,
    option,
    results_option,
    study_folder,
    with_options,
)
from mvit2_search.cli.output import explain, say
from mvit2_search.errors import MVit2SearchError, SpecError, StudyConflict
from mvit2_search.records import EpochRow, FullTraining, Recipe, recipe_fault
from mvit2_search.system.signals import Interrupt

if TYPE_CHECKING:
    from mvit2_search.arch import ArchConfig
    from mvit2_search.train.full import Cost
    from mvit2_search.train.job import TrainingJob
    from mvit2_search.train.ranks import Ranks

_SAVED = "The training is saved up to its newest checkpoint."
_FIRST_S = 3.0  # in which the first process says what went wrong in all of them
_RECIPES = "proxy, small, imagenet, finetune, finetune-384"
_SETTINGS_HELP = {
    "epochs": "How often the network is trained on all images, or on --images-per-epoch of them, and tested.",
    "image_size": "Height and width of the network's input, in pixels.",
    "test_crop": "Share of an image's short side that a test sees, in the centre: 1 for all of it.",
    "images_per_epoch": "Training images of an epoch, or none: all of them.",
    "batch_size": "Images of a step, all its --accumulate parts together.",
    "optimizer": "Optimiser: AdamW, or SGD with a momentum of 0.9.",
    "learning_rate": "Largest learning rate, or none: the published one for a network of this size.",
    "rate_batch": "Batch size that the learning rate is for; at another, it is scaled. none: never scaled.",
    "weight_decay": "Weight decay, or none: the published one for a network of this size.",
    "warmup_share": "Share of all steps in which the learning rate rises, from 0 to 1.",
    "warmup_rate": "Learning rate of the first step, if it rises.",
    "decay": "How the learning rate falls. step: by a cosine, after the rise. epoch: by a cosine in whole epochs, "
    "from the first. none: not at all.",
    "final_share": "Share of the largest learning rate that is left at the end of the cosine.",
    "clip_norm": "Largest norm of the gradients; longer ones are shortened to it.",
    "ema_momentum": "Share of the new weights in the average that is tested and kept, or none: as an average over "
    "a tenth of all steps, an epoch at most.",
    "settle": "Estimate the statistics of the norms anew for each test: good for short trainings.",
    "label_smoothing": "Label smoothing, from 0 to 0.99.",
    "flip": "Mirror each image with a chance of one half.",
    "crop_area": "Train on random crops that keep at least this share of the image; 1: no crops.",
    "randaugment_ops": "Operations of RandAugment on each image; 0: no RandAugment.",
    "randaugment_magnitude": "Magnitude of RandAugment, from 0 to 30.",
    "mixup": "Alpha of MixUp; 0: no MixUp.",
    "cutmix": "Alpha of CutMix; 0: no CutMix. With both, each batch gets one of the two.",
    "erasing": "Share of the images of which a random rectangle is blackened.",
}


class _Setting(click.ParamType):  # type: ignore[type-arg]  # click 8.1 takes none
    """The value of a setting of `Recipe`, in a tuple, as it may be None."""

    def __init__(self, name: str) -> None:
        self._setting = name
        hint = get_type_hints(Recipe)[name]
        self._kinds = get_args(hint) or (hint,)
        words = isinstance(self._kinds[0], str)
        self.name = "|".join(self._kinds) if words else {int: "integer", float: "float"}[self._kinds[0]]

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return self.name if "|" in self.name else self.name.upper()

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any]:
        found = value
        if value == "none" and NoneType in self._kinds:
            found = None
        elif not isinstance(self._kinds[0], str):
            with suppress(ValueError):
                found = self._kinds[0](value)
        if fault := recipe_fault(self._setting, found):
            self.fail(fault, param, ctx)
        return (found,)


def _setting_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """An option for each setting of a recipe."""
    for name, hint in reversed(get_type_hints(Recipe).items()):
        flag = f"--{name.replace('_', '-')}"
        if hint is bool:
            command = click.option(f"{flag}/--no{flag[1:]}", name, default=None, help=_SETTINGS_HELP[name])(
                command
            )
        else:
            command = click.option(flag, name, type=_Setting(name), help=_SETTINGS_HELP[name])(command)
    return command


def _teacher_options(command: Callable[..., Any]) -> Callable[..., Any]:
    return with_options(TEACHER_OPTIONS, command)


@click.command()
@click.argument("what", type=Place())
@click.option("--data", type=Place(), required=True, help=TRAIN_DATA_HELP)
@click.option("--out", type=Place(Path), required=True, help="Folder of this training: checkpoints and curves.")
@option(
    "--recipe",
    "small",
    f"{_RECIPES}, or a YAML file. Every option from --epochs on changes one of its settings.",
    type=Place(),
)
@click.option(
    "--init",
    type=Place(Path),
    help="Weights to start from: the folder of a training, or a file of ml-cvnets, timm or transformers.",
)
@_teacher_options
@option(
    "--seed",
    0,
    "Random seed of the weights, the order of images and their changes.",
    type=click.IntRange(0, 2**32 - 1),
    metavar="INTEGER",
)
@option("--train-on", "auto", "Device to train on: auto, cpu, mps or cuda[:i].")
@option(
    "--precision",
    "auto",
    "Precision of most computations. auto: bf16 on a GPU that has it, else fp32.",
    metavar="auto|fp32|bf16|fp16",
)
@option(
    "--accumulate",
    1,
    "Compute each batch in so many parts, one after another, to save memory.",
    type=click.IntRange(min=1),
    metavar="INTEGER",
)
@click.option("--compile", "compiled", is_flag=True, help="Compile the network with torch.compile.")
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    metavar="INTEGER",
    show_default="none on a CPU, up to 8 on a GPU",
    help="Further processes that prepare batches, beside each that trains.",
)
@option(
    "--nproc",
    1,
    "Processes that compute a part of each batch each, by torchrun: on GPUs one for each.",
    type=click.IntRange(min=1),
    metavar="INTEGER",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Train nothing: print every setting, the expected time, from a few steps, and the disk space.",
)
@cache_option
@results_option
@_setting_options
def train(what: str, nproc: int, dry_run: bool, **options: Any) -> None:
    """Train a network fully, on all images, and test it after each epoch.

    WHAT is a study, of which the most accurate confirmed network within the budget is trained; a trial of it,
    STUDY:TRIAL; a published network; or the YAML file of an architecture. It is trained on train/ and tested on
    val/ or, without it, on test/; of a folder without these, a fifth is to test on, at most 5,000 images.

    Ctrl-C and SIGTERM save the training. Repeat the command to go on, however it was stopped. On several
    computers, start it by torchrun. More: docs/training.md.

    \b
    Example:
        mvit2-search train first --data ~/images --out trained
        mvit2-search train mobilevitv2-1.0 --data ~/imagenet --out v2-1.0 --recipe imagenet --accumulate 8
        mvit2-search evaluate trained --data ~/images
    """
    check_teacher(options["teacher"])
    if nproc > 1 and not dry_run and "TORCHELASTIC_RUN_ID" not in os.environ:
        sys.exit(_in_processes(nproc, options["train_on"]))
    run_stoppable(
        lambda interrupt: _train(what, dry_run, options, interrupt),
        saved=_SAVED,
        on_request="Stopping after this step. Press Ctrl-C again to stop now.",
    )


def _in_processes(count: int, train_on: str) -> int:
    """Run the same command in so many processes; the exit code."""
    from mvit2_search.train.device import resolve_train_device
    from mvit2_search.train.ranks import run_ranks

    return run_ranks(count, sys.argv[1:], device=resolve_train_device(train_on))


def _train(what: str, dry_run: bool, options: dict[str, Any], interrupt: Interrupt) -> int:
    from mvit2_search.train.device import resolve_train_device
    from mvit2_search.train.ranks import joined_ranks

    with joined_ranks(resolve_train_device(options["train_on"])) as ranks:
        try:
            return _train_in(ranks, what, dry_run, options, interrupt)
        except MVit2SearchError:
            if not ranks.is_first:
                time.sleep(_FIRST_S)
            raise


def _train_in(ranks: Ranks, what: str, dry_run: bool, options: dict[str, Any], interrupt: Interrupt) -> int:
    from mvit2_search.cli.training_progress import Silent, TrainingProgress
    from mvit2_search.train.full import train_fully
    from mvit2_search.train.job import prepare_training
    from mvit2_search.train.plan import load_recipe

    changes = {
        field.name: given[0] if isinstance(given, tuple) else given
        for field in fields(Recipe)
        if (given := options.pop(field.name)) is not None
    }
    recipe = load_recipe(options.pop("recipe"), changes)
    interrupt.check()
    cache_gb = options["cache_gb"]
    if dry_run:
        options["cache_gb"] = 0
    arch, folder = _architecture(what, options["results"])
    job = prepare_training(arch, recipe, ranks=ranks, **options)
    for note in job.data.notes if ranks.is_first else ():
        explain(f"note: {note}", err=True)
    if dry_run:
        _print_plan(job, cache_gb)
        return 0

    def check() -> None:
        interrupt.check()
        if interrupt.requested:
            raise KeyboardInterrupt

    if not ranks.is_first:
        train_fully(job, listener=Silent(), check_interrupt=check)
        return 0
    with TrainingProgress(what, job) as progress:
        state = train_fully(job, listener=progress, check_interrupt=check)
    assert state.best is not None
    say(f"Best: epoch {state.best.epoch}, {job.data.task.metric.short} {state.best.score:.2f} %")
    say(f"Curves: {job.folder / 'training.html'}")
    if folder is not None:
        _keep_in_study(folder, job, state.best)
    return 0


def _keep_in_study(folder: Path, job: TrainingJob, best: EpochRow) -> None:
    import optuna

    from mvit2_search.api import keep_training
    from mvit2_search.records.codec import to_json

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    recipe = job.plan.recipe
    inputs = json.dumps(to_json(job.inputs), sort_keys=True)
    training = FullTraining(
        key=job.inputs.arch.key,
        inputs=hashlib.sha256(inputs.encode()).hexdigest()[:12],
        data=job.data.name,
        seed=job.inputs.seed,
        init=job.inputs.init,
        epochs=recipe.epochs,
        image_size=recipe.image_size,
        epoch=best.epoch,
        score=best.score,
        images=len(job.data.test),
        folder=str(job.folder.absolute()),
    )
    try:
        keep_training(folder, training)
    except StudyConflict as err:  # the training itself is done
        explain(f"warning: the study does not have this result yet: {err}; repeat this command later", err=True)
        return
    say(f"Report: {folder / 'report.html'}")


def _architecture(what: str, results: Path) -> tuple[ArchConfig, Path | None]:
    """What is to be trained, and the folder of the study that it is from."""
    from mvit2_search.api import export_architecture, load_arch
    from mvit2_search.arch import published_networks
    from mvit2_search.store.folders import is_study

    path = Path(what)
    if what in published_networks() or path.suffix in (".yaml", ".yml") or path.is_file():
        return load_arch(what), None
    study, colon, number = what.partition(":")
    if not study or (colon and not number.isdecimal()):
        raise click.UsageError(f"{what!r}: expected STUDY, or STUDY:TRIAL with the number of a trial")
    folder = study_folder(study, results)
    if not is_study(folder) and (close := get_close_matches(study, published_networks(), n=1, cutoff=0.8)):
        raise SpecError(f"{what!r}: no published network and no study; did you mean {close[0]!r}?")
    exported = export_architecture(folder, int(number) if number else None)
    if exported.note:
        explain(f"note: {exported.note}", err=True)
    return exported.arch, folder


def _print_plan(job: TrainingJob, cache_gb: float) -> None:
    from mvit2_search.report.progress import duration
    from mvit2_search.train.full import measured_cost

    plan, execution = job.plan, job.execution
    cost = measured_cost(job)
    rows = {
        "architecture": job.inputs.arch.key,
        "training images": len(job.data.train),
        "test images": len(job.data.test),
        "classes": len(job.data.classes),
        "short side of images": plan.recipe.source_size,
        **asdict(plan.recipe),
        "learning_rate": plan.learning_rate,
        "weight_decay": plan.weight_decay,
        "ema_momentum": 1 - plan.ema_decay,
        "steps per epoch": plan.steps_per_epoch,
        "steps": plan.steps,
        "warm-up steps": plan.warmup_steps,
        "starts from": "random weights" if job.inputs.init is None else f"weights {job.inputs.init[:12]}",
        **_of_teacher(job),
        "seed": job.inputs.seed,
        "device": execution.device,
        "precision": execution.resolved_precision,
        "parts of a batch": execution.accumulate,
        "compiled": execution.compile,
        "workers": execution.workers,
        "time of a step": f"{cost.step_s:.3g} s in one process, median of {cost.steps}",
        "time to prepare a batch": f"{cost.batch_s:.3g} s in one process, from files",
        "time of all steps": f"about {duration(_seconds_of_a_step(job, cost) * plan.steps)}, without tests",
        "disk space": f"{cost.disk_bytes / 1e6:.0f} MB",
        "decoded images": f"{min(cache_gb, job.data.decoded_bytes / 1e9):.2g} GB at most, in {job.results}",
    }
    width = max(map(len, rows))
    say(*(f"{name:{width}}  {_shown(value)}" for name, value in rows.items()))


def _of_teacher(job: TrainingJob) -> dict[str, Any]:
    from mvit2_search.train.taught import kept_bytes

    if job.teacher is None or job.inputs.teacher is None:
        return {}
    asked = job.inputs.teacher
    kept = kept_bytes(job.teacher, job.inputs.recipe, job.plan.steps)
    return {
        "teacher": f"{job.teacher.name}, weights {asked.weights[:12]}",
        "teacher_temperature": asked.temperature,
        "teacher_weight": asked.weight,
        "kept outputs": f"{kept / 1e6:.3g} MB at most, below {job.results}",
    }


def _seconds_of_a_step(job: TrainingJob, cost: Cost) -> float:
    """With its batch, which other processes may prepare meanwhile."""
    workers = job.execution.workers
    return max(cost.step_s, cost.batch_s / workers) if workers else cost.step_s + cost.batch_s


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value) if isinstance(value, str) else json.dumps(value).replace("null", "none")
