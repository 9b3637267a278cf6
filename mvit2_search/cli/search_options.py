"""Options that `run` and `proxy check` share: what is searched, on which images, on which device, trained how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from mvit2_search.cli.options import (
    DATA_HELP,
    FC,
    TEACHER_OPTIONS,
    Place,
    cache_option,
    device_option,
    formulation_option,
    option,
    results_option,
    with_options,
)
from mvit2_search.records import Recipe

_RECIPE = Recipe()
TRAINING = ("epochs", "image_size", "images_per_epoch", "batch_size", "learning_rate", "flip")

_QUESTION: Sequence[Callable[[Any], Any]] = (
    click.option(
        "--space", type=Place(), required=True, help="Search space: width, blocks, attention, or a YAML file."
    ),
    click.option("--data", type=Place(), required=True, help=DATA_HELP),
    click.option(
        "--latency-budget",
        required=True,
        help="Largest latency: a time such as 12ms, or the latency of a published network such as "
        "mobilevitv2-0.75.",
    ),
    click.option("--study", required=True, help="Name of the study. The name of an existing study resumes it."),
    device_option,
    formulation_option,
)
max_hours_option = click.option(
    "--max-hours",
    type=float,
    help="Hours after which this run starts no further trial or training. The same command continues later.",
)
_SHORT_TRAINING: Sequence[Callable[[Any], Any]] = (
    option("--train-on", "auto", "Device to train on: auto, cpu, mps or cuda[:i]."),
    option("--epochs", _RECIPE.epochs, "Epochs per training."),
    option("--image-size", _RECIPE.image_size, "Height and width of training images, in pixels."),
    option("--images-per-epoch", _RECIPE.images_per_epoch, "Training images per epoch."),
    option("--batch-size", _RECIPE.batch_size, "Training images per step."),
    option("--learning-rate", _RECIPE.learning_rate, "Peak learning rate."),
    option("--flip/--no-flip", _RECIPE.flip, "Mirror half of the training images."),
    *TEACHER_OPTIONS,
    cache_option,
    results_option,
)


def question_options(command: FC) -> FC:
    """The space, the images, the budget, the study and the device."""
    return with_options(_QUESTION, command)


def short_training_options(command: FC) -> FC:
    """How a candidate is trained, and where results are kept."""
    return with_options(_SHORT_TRAINING, command)


def recipe_of(options: dict[str, Any]) -> Recipe:
    """The recipe of the short trainings, whose settings are taken out of `options`."""
    return Recipe(**{name: options.pop(name) for name in TRAINING})
