"""`mvit2-search proxy`: whether short trainings can be trusted, and which are the cheapest that can."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mvit2_search.cli.interrupt import interrupted, run_stoppable
from mvit2_search.cli.options import (
    FC,
    Place,
    check_teacher,
    json_option,
    option,
    results_option,
    study_argument,
    study_folder,
)
from mvit2_search.cli.output import echo_json, explain, say
from mvit2_search.cli.search_options import (
    max_hours_option,
    question_options,
    recipe_of,
    short_training_options,
)
from mvit2_search.system.signals import STOPPED, Interrupt

if TYPE_CHECKING:
    from mvit2_search.records.certificate import Check
    from mvit2_search.search.certify import CheckRequest

_SAVED = "Finished trainings are saved."
_STOPPING = "Stopping after the running training. Press Ctrl-C again to stop now."


@click.group()
def proxy() -> None:
    """Check whether short trainings order networks as longer ones do.

    A search trusts its short trainings. On some images they tell networks apart, on others they are noise. These
    commands find out before a search is paid for.

    \b
    Example:
        mvit2-search proxy check --space blocks --data ~/images \\
            --latency-budget mobilevitv2-0.75 --study trusted
    """


@proxy.command()
@question_options
@option("--networks", 24, "Number of networks to compare, published widths among them.")
@option(
    "--band",
    (0.5, 1.0),
    "Latencies of these networks, as shares of the budget.",
    type=(float, float),
    metavar="LOW HIGH",
)
@option("--truth-seeds", 2, "Longer trainings per network. You can raise it later.")
@click.option(
    "--truth-recipe",
    type=Place(),
    help="Recipe of the longer trainings: small, or a YAML file.  [default: the short training's, with ten times "
    "its epochs]",
)
@click.option("--truth-epochs", type=int, help="Epochs of the longer trainings.")
@option("--seed", 0, "Random seed of the networks and of the short trainings.")
@max_hours_option
@short_training_options
@json_option
def check(as_json: bool, **options: Any) -> None:
    """Certify the short trainings of a search: do they order networks?

    Networks are drawn from the part of the space that matters, measured, and trained as `mvit2-search run` would
    train them. Then each is trained longer, with fresh seeds, and tested on images that the short trainings never
    saw. Prints Kendall's tau between the two, with its interval, beside what parameters, multiply-adds, latency
    and SynFlow reach, and a verdict: ranks, coarse or useless. `mvit2-search run` with the same options shows it.

    The same command continues, however it was stopped. Writes certificate.html and certificate.csv to the study's
    folder.

    \b
    Example:
        mvit2-search proxy check --space blocks --data ~/images \\
            --latency-budget mobilevitv2-0.75 --study trusted --truth-recipe small --truth-epochs 20
    """
    check_teacher(options["teacher"])
    run_stoppable(lambda interrupt: _check(_request(options), interrupt, as_json), _SAVED, _STOPPING)


def _request(options: dict[str, Any]) -> CheckRequest:
    from mvit2_search.records.certificate import Band
    from mvit2_search.search.certify import CheckRequest
    from mvit2_search.search.request import Request

    truth, epochs = options.pop("truth_recipe"), options.pop("truth_epochs")
    own = {name: options.pop(name) for name in ("networks", "truth_seeds")}
    low, high = options.pop("band")
    asked = Request(recipe=recipe_of(options), **options)
    return CheckRequest(search=asked, band=Band(low=low, high=high), truth=_truth(truth, epochs, asked), **own)


def _truth(name: str | None, epochs: int | None, asked: Any) -> Any:
    """The recipe of the longer trainings; None for the default."""
    from dataclasses import replace

    from mvit2_search.train.plan import load_recipe

    changes = {} if epochs is None else {"epochs": epochs}
    if name is not None:
        return load_recipe(name, changes)
    return replace(asked.recipe, **changes) if changes else None


def _check(request: CheckRequest, interrupt: Interrupt, as_json: bool) -> int:
    from mvit2_search.analysis.checked import findings_of
    from mvit2_search.cli.progress import Progress
    from mvit2_search.search.certify import run_check

    interrupt.check()
    with Progress(to_stderr=as_json) as progress:
        done = run_check(request, progress, interrupt)
    interrupt.check()
    show_check(done, request.search.folder, as_json)
    if done.is_complete:
        return 0 if findings_of(done) else 1
    return _stopped(interrupt, as_json)


def _stopped(interrupt: Interrupt, as_json: bool) -> int:
    """Say why there is more to do, and how to go on; the exit code."""
    what = "Stopped after the running training." if interrupt.requested else "Stopped after --max-hours."
    return interrupted(STOPPED if interrupt.requested else 0, _SAVED, what, err=as_json)


@proxy.command()
@study_argument
@results_option
@json_option
def trained(study: str, results: Path, as_json: bool) -> None:
    """Certify the short trainings of a study by the full trainings of its networks.

    Uses what `mvit2-search train STUDY:TRIAL` wrote back into the study: at least nine networks with two seeds
    each, trained alike. Trains nothing. A search chose most of these networks for their short trainings, so they
    are more alike than drawn ones, and a tau among them is lower.

    \b
    Example:
        mvit2-search proxy trained mine
    """
    from mvit2_search.search.trained import check_trained

    folder = study_folder(study, results)
    show_check(check_trained(folder), folder, as_json)


def show_check(check: Check, folder: Path, as_json: bool) -> None:
    """Write the files of a check and print what it says."""
    from mvit2_search.report.certificate import certificate_json, certificate_lines, write_certificate_files

    files = list(map(str, write_certificate_files(folder, check)))
    if as_json:
        echo_json({**certificate_json(check), "files": files})
        return
    say("")
    explain(*certificate_lines(check))
    say(*files)


class _Numbers(click.ParamType):  # type: ignore[type-arg]  # click 8.1 takes none
    """Whole numbers, separated by commas."""

    name = "integers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(int(word) for word in value.split(","))
        except ValueError:
            self.fail(f"{value!r}: expected whole numbers, separated by commas", param, ctx)


def _numbers(name: str, default: str | None, help: str) -> Callable[[FC], FC]:
    return click.option(
        name, type=_Numbers(), default=default, show_default=default is not None, help=help, metavar="N,N,..."
    )


@proxy.command()
@question_options
@click.option("--target-tau", type=float, required=True, help="Kendall's tau that is to be reached.")
@_numbers("--try-epochs", "2,3,6,12", "Epochs to try.")
@_numbers("--try-images", "750,1500,3000,6000", "Training images per epoch to try.")
@_numbers("--try-pixels", None, "Heights and widths of training images to try.  [default: --image-size]")
@max_hours_option
@short_training_options
@json_option
def tune(as_json: bool, **options: Any) -> None:
    """Find the cheapest short training that orders the networks of a check well enough.

    Repeat the options of a finished `mvit2-search proxy check`. All combinations of the values to try are tried on
    its networks, the cheapest first, with --teacher each also with the teacher, until one reaches the target. The
    first of many that reaches it looks better than it is: its interval counts, and a check of its own.

    \b
    Example:
        mvit2-search proxy tune --space blocks --data ~/images \\
            --latency-budget mobilevitv2-0.75 --study trusted --target-tau 0.7
    """
    check_teacher(options["teacher"])
    run_stoppable(lambda interrupt: _tune(options, interrupt, as_json), _SAVED, _STOPPING)


def _tune(options: dict[str, Any], interrupt: Interrupt, as_json: bool) -> int:
    from mvit2_search.cli.progress import Progress
    from mvit2_search.report.tuning import tried_line, tuning_json, tuning_lines
    from mvit2_search.search.request import Request
    from mvit2_search.search.tune import TuneRequest, reaches, run_tuning

    epochs, images, pixels = (options.pop(f"try_{name}") for name in ("epochs", "images", "pixels"))
    target = options.pop("target_tau")
    search = Request(recipe=recipe_of(options), **options)
    request = TuneRequest(
        search=search,
        target_tau=target,
        epochs=epochs,
        images=images,
        pixels=pixels or (search.recipe.image_size,),
    )
    with Progress(to_stderr=as_json) as progress:
        tried, is_stopped = run_tuning(request, progress, interrupt)
    interrupt.check()
    reached = bool(tried) and reaches(tried[-1], target)
    if as_json:
        echo_json({**tuning_json(tried, target, reached=reached), "stopped": is_stopped})
    elif is_stopped:
        explain(*map(tried_line, tried))
    else:
        explain(*tuning_lines(tried, target, reached=reached))
    if is_stopped:
        return _stopped(interrupt, as_json)
    return 0 if reached else 1
