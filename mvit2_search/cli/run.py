"""`mvit2-search run`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mvit2_search.cli.interrupt import interrupted, run_stoppable
from mvit2_search.cli.options import Place, check_teacher, option
from mvit2_search.cli.output import explain, program, say
from mvit2_search.cli.search_options import (
    max_hours_option,
    question_options,
    recipe_of,
    short_training_options,
)
from mvit2_search.system.signals import STOPPED, Interrupt

if TYPE_CHECKING:
    from mvit2_search.report.tables import Summary
    from mvit2_search.search.request import Request

_SAVED = "Finished trials and trainings are saved."


@click.command()
@question_options
@click.option(
    "--allow-device-change",
    is_flag=True,
    help="If the study is from another device, or from before a system update: keep its accuracies and measure "
    "every latency again. The old study is moved to the folder other-devices in the results.",
)
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
@max_hours_option
@click.option("--max-params", type=int, help="Largest number of parameters of a candidate.")
@click.option(
    "--proxy",
    default="short",
    show_default=True,
    help="How candidates are scored. short: each is trained from scratch for some epochs. inherited "
    "(experimental): each takes its part of one set of weights, which is trained first.",
    metavar="short|inherited",
)
@click.option(
    "--init",
    type=Place(Path),
    help="Weights that the shared ones begin with, for --proxy inherited: a file of a published width in the "
    "names of ml-cvnets, timm, transformers or this program, or the folder of a training.",
)
@option("--shared-epochs", 20, "Epochs of training the shared weights, for --proxy inherited.")
@short_training_options
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
    check_teacher(options["teacher"])
    run_stoppable(
        lambda interrupt: _run(options, interrupt),
        saved=_SAVED,
        on_request="Stopping after the running trial. Press Ctrl-C again to stop now.",
    )


def _run(options: dict[str, Any], interrupt: Interrupt) -> int:
    """Run until the end and print the result; the exit code."""
    from mvit2_search.search.request import Request

    recipe = recipe_of(options)
    return _search(Request(recipe=recipe, **options), interrupt)


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
        return interrupted(STOPPED, _SAVED, "Stopped after the running trial.")
    return interrupted(0, _SAVED, f"Stopped after --max-hours {request.max_hours:g}.")


def _print_end(summary: Summary, folder: Path) -> None:
    from mvit2_search.report.sentences import answer_sentences, training_sentences

    if summary.ended:
        say("", f"Study {summary.name} is finished: {summary.ended}.")
    explain(*answer_sentences(summary), *training_sentences(summary))
    say(f"Report: {folder / 'report.html'}")
    if summary.ended and summary.verdict is not None:
        results = "" if folder.parent == Path("results") else f" --results {shlex.quote(str(folder.parent))}"
        say(f"Export: {program()} export {summary.name}{results}")
