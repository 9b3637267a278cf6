"""`mvit2-search train` and `mvit2-search evaluate`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import click

from mvit2_search.cli.interrupt import run_stoppable
from mvit2_search.cli.options import DATA_HELP, Place, json_option, option, results_option, study_folder
from mvit2_search.cli.output import echo_json, explain, say
from mvit2_search.records import Recipe, recipe_fault
from mvit2_search.system.signals import Interrupt

if TYPE_CHECKING:
    from mvit2_search.arch import ArchConfig
    from mvit2_search.train.full import TrainingJob

_SAVED = "The training is saved."
_SETTINGS_HELP = {
    "epochs": "Passes over the training images, or over --images-per-epoch of them.",
    "image_size": "Height and width of the network's input, in pixels.",
    "test_crop": "Central share of the short side that is tested.",
    "images_per_epoch": "Images drawn for an epoch; none: all.",
    "batch_size": "Images of a step, all its parts together.",
    "optimizer": "adamw or sgd.",
    "learning_rate": "Largest learning rate; none: the published one, by the size of the network.",
    "rate_batch": "Batch size that the learning rate is for; none: never scaled.",
    "weight_decay": "Of weights, not of norms and biases; none: the published one.",
    "warmup_share": "Share of all steps in which the learning rate rises.",
    "warmup_rate": "Learning rate of the first step.",
    "decay": "Of the learning rate. step: a cosine after the warm-up. epoch: a cosine by whole epochs. none.",
    "final_share": "Share of the largest learning rate at the end of the cosine.",
    "clip_norm": "Largest norm of the gradients.",
    "ema_momentum": "Of the averaged weights; none: over a tenth of all steps, an epoch at most.",
    "settle": "Test with batch statistics that are estimated anew.",
    "label_smoothing": "From 0 to 1.",
    "flip": "Mirror half of the images.",
    "crop_area": "Smallest share of the image that a random crop keeps; 1: no crop.",
    "randaugment_ops": "RandAugment's operations on each image.",
    "randaugment_magnitude": "RandAugment's magnitude, from 0 to 30.",
    "mixup": "Alpha of MixUp; 0: none.",
    "cutmix": "Alpha of CutMix; 0: none.",
    "erasing": "Share of the images of which a rectangle is erased.",
}


class _Setting(click.ParamType):  # type: ignore[type-arg]  # click 8.1 takes none
    """The value of a setting of `Recipe`, in a tuple, as it may be None."""

    def __init__(self, name: str) -> None:
        self._setting = name
        hint = get_type_hints(Recipe)[name]
        self._kinds = get_args(hint) or (hint,)
        self.name = "text" if isinstance(self._kinds[0], str) else self._kinds[0].__name__

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any]:
        found = value
        if value == "none" and NoneType in self._kinds:
            found = None
        elif not isinstance(self._kinds[0], str):
            try:
                found = self._kinds[0](value)
            except ValueError:
                self.fail(f"{value!r} is no number", param, ctx)
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


@click.command()
@click.argument("what", type=Place())
@click.option("--data", type=Place(), required=True, help=DATA_HELP)
@click.option("--out", type=Place(Path), required=True, help="Folder for checkpoints, metrics and curves.")
@option(
    "--recipe",
    "small",
    "proxy, small, imagenet, finetune, finetune-384, or a YAML file. The options below change single settings.",
    type=Place(),
)
@click.option(
    "--init", type=Place(Path), help="Weights to start from: of ml-cvnets, timm, transformers or our own."
)
@option("--seed", 0, "Random seed of the weights, the order of images and their changes.")
@option("--train-on", "auto", "Device to train on: auto, cpu, mps or cuda[:i].")
@option(
    "--precision", "auto", "Precision of activations: auto, fp32, bf16 or fp16.", metavar="auto|fp32|bf16|fp16"
)
@option("--accumulate", 1, "Parts that each batch is computed in, to save memory.", type=click.IntRange(min=1))
@click.option("--compile", "compiled", is_flag=True, help="Compile the network with torch.compile.")
@option("--workers", 0, "Processes that prepare batches.", type=click.IntRange(min=0))
@click.option("--dry-run", is_flag=True, help="Print every resolved value, the time and the disk space, and end.")
@results_option
@_setting_options
def train(what: str, dry_run: bool, **options: Any) -> None:
    """Train a network fully. The same command goes on with a training, however it was stopped.

    WHAT is a study, STUDY:TRIAL, a published network, or the YAML file of an architecture. Of a study, the most
    accurate confirmed network within the budget is trained. It is trained on train/ and tested on val/ after each
    epoch; a folder without them is divided. Ctrl-C and SIGTERM save the training.

    \b
    Example:
        mvit2-search train first --data ~/images --out trained
        mvit2-search train mobilevitv2-1.0 --data ~/imagenet --out v2-1.0 --recipe imagenet --accumulate 8
        mvit2-search evaluate trained --data ~/images
    """
    run_stoppable(lambda interrupt: _train(what, dry_run, options, interrupt), saved=_SAVED)


def _train(what: str, dry_run: bool, options: dict[str, Any], interrupt: Interrupt) -> int:
    from mvit2_search.cli.training_progress import TrainingProgress
    from mvit2_search.train.full import prepare_training, train_fully
    from mvit2_search.train.plan import load_recipe

    changes = {
        field.name: given[0] if isinstance(given, tuple) else given
        for field in fields(Recipe)
        if (given := options.pop(field.name)) is not None
    }
    recipe = load_recipe(options.pop("recipe"), changes)
    interrupt.check()
    job = prepare_training(_architecture(what, options["results"]), recipe, **options)
    for note in job.data.notes:
        explain(f"note: {note}", err=True)
    if dry_run:
        _print_plan(job)
        return 0

    def check() -> None:
        interrupt.check()
        if interrupt.requested:
            raise KeyboardInterrupt

    with TrainingProgress(what, job) as progress:
        state = train_fully(job, listener=progress, check_interrupt=check)
    assert state.best is not None
    say(f"Best: epoch {state.best.epoch}, {job.data.task.metric.short} {state.best.score:.2f} %")
    say(f"Curves: {job.folder / 'training.html'}")
    return 0


def _architecture(what: str, results: Path) -> ArchConfig:
    from mvit2_search.api import export_architecture, load_arch
    from mvit2_search.arch import published_networks

    if what in published_networks() or Path(what).is_file():
        return load_arch(what)
    study, _, number = what.partition(":")
    if number and not number.isdecimal():
        raise click.UsageError(f"{what!r}: expected STUDY:TRIAL with the number of a trial")
    exported = export_architecture(study_folder(study, results), int(number) if number else None)
    if exported.note:
        explain(f"note: {exported.note}", err=True)
    return exported.arch


def _print_plan(job: TrainingJob) -> None:
    from mvit2_search.train.full import measured_cost

    plan, execution = job.plan, job.execution
    rows: dict[str, Any] = {
        "architecture": job.inputs.arch.key,
        "training images": len(job.data.train),
        "test images": len(job.data.test),
        "classes": len(job.data.classes),
        "device": execution.device,
        "precision": execution.resolved_precision,
        **asdict(plan.recipe),
        "learning_rate": f"{plan.learning_rate:.6g}",
        "weight_decay": f"{plan.weight_decay:.6g}",
        "steps per epoch": plan.steps_per_epoch,
        "steps": plan.steps,
        "warm-up steps": plan.warmup_steps,
        "share kept by averaged weights in a step": f"{plan.ema_decay:.6g}",
    }
    cost = measured_cost(job)
    rows["seconds per step, measured"] = f"{cost.step_s:.3f} (median of {cost.steps})"
    rows["hours of training, estimated, without tests"] = f"{cost.step_s * plan.steps / 3600:.2f}"
    rows["disk space"] = f"{cost.disk_bytes / 1e6:.0f} MB"
    width = max(map(len, rows))
    say(*(f"{name:{width}}  {'none' if value is None else value}" for name, value in rows.items()))


@click.command()
@click.argument("what", type=Place())
@click.option("--data", type=Place(), required=True, help=DATA_HELP)
@option("--train-on", "auto", "Device to compute on, not for exported files: auto, cpu, mps or cuda[:i].")
@results_option
@json_option
def evaluate(what: str, data: str, train_on: str, results: Path, as_json: bool) -> None:
    """Score a trained network on the test images of a data set: top-1, top-5 and by class.

    WHAT is the folder of a training, of which the best checkpoint is scored, one of its checkpoints, or an
    exported file. The test images are val/ or, without it, test/; of a folder without parts, those that no search
    trains on or selects by. Intervals are Wilson's, of 95 %, over images.

    \b
    Example:
        mvit2-search evaluate trained --data ~/images
    """
    from mvit2_search.train.device import resolve_train_device
    from mvit2_search.train.evaluation import Share, evaluate_network

    found = evaluate_network(what, data, device=resolve_train_device(train_on), results=results)

    def row(share: Share) -> dict[str, Any]:
        low, high = share.interval_pct
        return {"pct": share.pct, "low_pct": low, "high_pct": high, "right": share.right, "images": share.of}

    if as_json:
        classes = {name: row(share) for name, share in found.classes.items()}
        echo_json(
            {
                "what": found.what,
                "data": found.data,
                "image_size": found.size,
                "source_size": found.source_size,
                "top1": row(found.top1),
                "top5": found.top5 and row(found.top5),
                "classes": classes,
            }
        )
        return
    sizes = f"short side {found.source_size}, centre {found.size}"
    say(f"{found.what} on {found.data}: {found.top1.of:,} images, {sizes}")
    shares = {"top-1": found.top1} | ({"top-5": found.top5} if found.top5 else {}) | found.classes
    width = max(map(len, shares))
    for name, share in shares.items():
        low, high = share.interval_pct
        say(f"{name:{width}}  {share.pct:6.2f} %  [{low:.2f}, {high:.2f}]  of {share.of:,}")
