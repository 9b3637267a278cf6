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

from mvit2_search.cli.options import DATA_HELP, Place, device_option, formulation_option, option, results_option
from mvit2_search.cli.output import explain, give_up_broken_output, program, say
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
    "--space", type=Place(), required=True, help="Search space: width, blocks, attention, or a YAML file."
)
@click.option("--data", type=Place(), required=True, help=DATA_HELP)
@click.option(
    "--latency-budget",
    required=True,
    help="Largest latency: a time such as 12ms, or the latency of a published network such as mobilevitv2-0.75.",
)
@click.option("--study", required=True, help="Name of the study. The name of an existing study resumes it.")
@device_option
@click.option(
    "--allow-device-change",
    is_flag=True,
    help="If the study is from another device, or from before a system update: keep its accuracies and measure "
    "every latency again. The old study is moved to the folder other-devices in the results.",
)
@formulation_option
@option("--trials", 20, "Number of candidates to train. You can raise it later.")
@option("--sampler", "front", "Sampler that proposes candidates: front, tpe, nsga2, gp or random.")
@option(
    "--seed",
    0,
    "Random seed of the search and its trainings. Equal seeds repeat a search if its latencies are equal, as "
    "within one results folder.",
)
@option(
    "--stopping",
    "dominance",
    "Early stopping. dominance: stop trainings that can no longer reach the front. halving: keep the best third. "
    "none: stop no training.",
    metavar="dominance|halving|none",
)
@option(
    "--confirm-seeds",
    3,
    "Number of fresh seeds to retrain each finalist with. Finalists are up to four candidates and two published "
    "widths.",
)
@option("--control", 0, "Number of random networks to train for comparison. You can raise it later.")
@click.option(
    "--max-hours",
    type=float,
    help="Hours after which this run starts no further trial or training. The same command continues later.",
)
@click.option("--max-params", type=int, help="Largest number of parameters of a candidate.")
@option("--train-on", "auto", "Device to train on: auto, cpu, mps or cuda[:i].")
@option("--epochs", _RECIPE.epochs, "Epochs per training.")
@option("--image-size", _RECIPE.image_size, "Height and width of training images, in pixels.")
@option("--images-per-epoch", _RECIPE.images_per_epoch, "Training images per epoch.")
@option("--batch-size", _RECIPE.batch_size, "Training images per step.")
@option("--learning-rate", _RECIPE.learning_rate, "Peak learning rate.")
@option("--flip/--no-flip", _RECIPE.flip, "Mirror half of the training images.")
@results_option
def run(**options: Any) -> None:
    """Search for the best network under a latency budget, confirm it and write a report.

    The same command resumes a study, however it was stopped. Press Ctrl-C once to stop after the running trial,
    twice to stop within seconds. SIGTERM and closing the terminal stop it too, but with nohup it keeps running.

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
            while give_up_broken_output():  # the terminal is gone, and nobody reads how to continue
                pass
            code = interrupt.code
    for number in ending_signals():  # nothing is left to stop while Python shuts down, which may take a second
        atexit.register(signal.signal, number, signal.SIG_IGN)
    sys.exit(code)


def _run(options: dict[str, Any], interrupt: Interrupt) -> int:
    """Run until the end or an interruption and print the result; the exit code."""
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
    return _interrupted(0, f"Stopped after --max-hours {request.max_hours:g}.")


def _print_end(summary: Summary, folder: Path) -> None:
    from mvit2_search.report.sentences import answer_sentences, training_sentences

    if summary.ended:
        say("", f"Study {summary.name} is finished: {summary.ended}.")
    explain(*answer_sentences(summary), *training_sentences(summary))
    say(f"Report: {folder / 'report.html'}")
    if summary.ended and summary.verdict is not None:
        results = "" if folder.parent == Path("results") else f" --results {shlex.quote(str(folder.parent))}"
        say(f"Export: {program()} export {summary.name}{results}")


def _say_stopping() -> None:
    """Ctrl-C came for the first time."""
    if sys.stderr is None:  # closed before the start
        return
    text = b"\nStopping after the running trial. Press Ctrl-C again to stop now.\n"
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
    return (
        f"{what} Finished trials and trainings are saved. To continue:",
        f"    {program()} {shlex.join(sys.argv[1:])}",
    )
