"""`mvit2-search run`."""

from __future__ import annotations

import atexit
import os
import shlex
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mvit2_search.cli.options import (
    Place,
    device_option,
    explain,
    formulation_option,
    give_up_broken_output,
    program,
    results_option,
    say,
)
from mvit2_search.errors import MVit2SearchError
from mvit2_search.records import Recipe
from mvit2_search.system.signals import STOPPED, TERMINATED, Interrupt, Terminated, ending_signals
from mvit2_search.system.text import printable

if TYPE_CHECKING:
    from mvit2_search.report.tables import Summary
    from mvit2_search.search.request import Request

_SHOW_CURSOR = "\x1b[?25h"
_RECIPE = Recipe()
_TRAINING = ("epochs", "image_size", "images_per_epoch", "batch_size", "learning_rate", "flip")


@click.command()
@click.option(
    "--space", type=Place(), required=True, help="A shipped space (width, blocks, attention) or a YAML file."
)
@click.option(
    "--data",
    type=Place(),
    required=True,
    help="fashion-mnist-mini, or a folder with one sub-folder of images per class.",
)
@click.option("--latency-budget", required=True, help="12ms, or a published network such as mobilevitv2-0.75.")
@click.option("--study", required=True, help="Name of the study; the same name resumes it.")
@device_option
@click.option(
    "--allow-device-change",
    is_flag=True,
    help="Set a study aside that was begun on another device, or before an update of the system: a new one keeps "
    "its accuracies and times every network anew.",
)
@formulation_option
@click.option(
    "--trials", type=int, default=20, show_default=True, help="Candidates to train; may be raised later."
)
@click.option(
    "--sampler",
    default="front",
    show_default=True,
    help="What proposes candidates: front, tpe, nsga2, gp or random.",
)
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="Of the search and its trainings; repeats a search where latencies are equal, as in one results folder.",
)
@click.option(
    "--stopping",
    metavar="dominance|halving|none",
    default="dominance",
    show_default=True,
    help="Which trainings end early: those that cannot enter the front any more, all but the best share, none.",
)
@click.option(
    "--confirm-seeds",
    type=int,
    default=3,
    show_default=True,
    help="Fresh trainings of each finalist: at most four candidates and two published widths.",
)
@click.option(
    "--control",
    type=int,
    default=0,
    show_default=True,
    help="Random architectures to train beside the search, to compare it with; may be raised later.",
)
@click.option(
    "--max-hours",
    type=float,
    help="Begin no further trial or training after so many hours of this run; the same command goes on.",
)
@click.option("--max-params", type=int, help="Parameters that an architecture may have at most.")
@click.option("--train-on", default="auto", show_default=True, help="Where to train: auto, cpu, mps or cuda[:i].")
@click.option("--epochs", default=_RECIPE.epochs, show_default=True, help="Of a short training.")
@click.option(
    "--image-size", default=_RECIPE.image_size, show_default=True, help="Side of training images in pixels."
)
@click.option("--images-per-epoch", default=_RECIPE.images_per_epoch, show_default=True, help="Training images.")
@click.option("--batch-size", default=_RECIPE.batch_size, show_default=True, help="Training images in a step.")
@click.option("--learning-rate", default=_RECIPE.learning_rate, show_default=True, help="Highest of a training.")
@click.option(
    "--flip/--no-flip", default=_RECIPE.flip, show_default=True, help="Mirror half of the training images."
)
@results_option
def run(**options: Any) -> None:
    """Search under a latency budget, then confirm the best against the published widths.

    The same command resumes a study, whatever stopped it. Ctrl-C once finishes the running trial; twice,
    SIGTERM, or closing the terminal stops within seconds; start it with nohup to go on without a terminal.

    \b
    Example:
        mvit2-search run --space blocks --data fashion-mnist-mini \\
            --latency-budget mobilevitv2-0.75 --trials 8 --study first
        mvit2-search run --space ./mine.yaml --data ~/images --latency-budget 12ms --study mine
    """
    with Interrupt(_say_stopping, _leave) as interrupt:  # before anything that takes its time to import
        try:
            code = _run(options, interrupt)
        except OSError:
            if interrupt.code is None:
                raise
            while give_up_broken_output():  # the terminal is gone, and nobody reads how to go on
                pass
            code = interrupt.code
    atexit.register(_ignore_signals)
    sys.exit(code)


def _ignore_signals() -> None:
    """There is nothing left to stop when Python takes itself down, which may take a second."""
    for number in ending_signals():
        signal.signal(number, signal.SIG_IGN)


def _run(options: dict[str, Any], interrupt: Interrupt) -> int:
    """Run to the end, or until told to stop, and print it; the exit code."""
    from mvit2_search.search.request import Request

    try:
        recipe = Recipe(**{name: options.pop(name) for name in _TRAINING})
        code = _search(Request(recipe=recipe, **options), interrupt)
        interrupt.check()
    except KeyboardInterrupt:
        return _interrupted(STOPPED)
    except Terminated:
        return _interrupted(interrupt.code or TERMINATED)
    except MVit2SearchError as err:
        if interrupt.code is None:
            raise
        explain(f"error: {err}", err=True)
        return _interrupted(interrupt.code)
    return code


def _search(request: Request, interrupt: Interrupt) -> int:
    import optuna

    from mvit2_search.api import refresh
    from mvit2_search.cli.progress import Progress
    from mvit2_search.search.driver import run_search
    from mvit2_search.store import open_study

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    interrupt.check()
    with Progress() as progress:
        run_search(request, progress, interrupt)
        summary = refresh(open_study(request.folder))
    interrupt.check()
    _print_end(summary, request.folder)
    if summary.ended:
        return 1 if summary.verdict is None else 0
    if interrupt.requested:
        return _interrupted(STOPPED, "Stopped after the running trial.")
    return _interrupted(0, f"The hours ({request.max_hours:g}) are over.")


def _say_stopping() -> None:
    """Ctrl-C came for the first time."""
    if sys.stderr is None:  # closed before the start
        return
    text = b"\nStopping after the running trial; press Ctrl-C again to stop now.\n"
    with suppress(OSError, ValueError):  # nobody may be reading
        os.write(sys.stderr.fileno(), text)  # from another thread, whatever this one is printing


def _interrupted(code: int, what: str | None = None) -> int:
    say(*_closing(code, what))
    return code


def _leave(code: int) -> None:
    """End this process although something in it does not."""
    try:
        output = sys.stdout.fileno()
        text = "\n".join(map(printable, _closing(code)))
        os.set_blocking(output, False)  # nobody may be reading
        os.write(output, f"{_SHOW_CURSOR if os.isatty(output) else ''}\n{text}\n".encode())
        os.set_blocking(output, True)
    finally:
        os._exit(code)


def _closing(code: int, what: str | None = None) -> tuple[str, str]:
    what = what or ("Stopped." if code == STOPPED else "Terminated.")
    return f"{what} Nothing that was finished is lost. To go on:", f"    {program()} {shlex.join(sys.argv[1:])}"


def _print_end(summary: Summary, folder: Path) -> None:
    from mvit2_search.report.hypervolume import hypervolume_table
    from mvit2_search.report.sentences import (
        control_sentences,
        missing_sentences,
        saving_sentence,
        verdict_sentences,
    )

    if summary.ended:
        say("", f"Study {summary.name} is finished: {summary.ended}.")
    explain(*verdict_sentences(summary), *control_sentences(hypervolume_table(summary)))
    explain(saving_sentence(summary), *missing_sentences(summary))
    say(f"Report: {folder / 'report.html'}")
    if summary.ended and summary.verdict is not None:
        results = "" if folder.parent == Path("results") else f" --results {shlex.quote(str(folder.parent))}"
        say(f"Export: {program()} export {summary.name}{results}")
