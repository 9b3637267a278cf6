"""Random architectures of the same space, trained like the candidates: what the search has to leave behind."""

import random
from collections.abc import Iterator

from mvit2_search.arch import ArchConfig
from mvit2_search.records import Failed, Finished, Trial
from mvit2_search.search.interrupt import Interrupt
from mvit2_search.search.trials import TrialRunner
from mvit2_search.space import SearchSpace, draw_params

_MAX_BARREN = 100  # draws in a row that came to nothing
_MAX_REPEATED = 1_000  # draws in a row that were drawn before: the space has no more


def run_control(runner: TrialRunner, count: int, interrupt: Interrupt) -> None:
    """Draw until `count` architectures within the limits are trained to the end.

    Draws follow from the study's seed alone, so that a larger count goes on after a smaller. What is over the
    budget is timed, kept and does not count; a training that failed is tried again. No stopping rule ends them.
    """
    controls = runner.study.controls()
    kept = {
        t.arch.key: t for t in controls if not (isinstance(t.outcome, Failed) and t.outcome.reason == "training")
    }
    trained, barren, why = 0, 0, "the space has no more"
    for index, arch in enumerate(_draws(runner.space, runner.seed)):
        if trained >= count or interrupt.requested:
            return
        if barren == _MAX_BARREN:
            why = f"of the last {barren} drawn none was within the budget and trained"
            break
        trial = kept.get(arch.key) or runner.run_control(index, arch)
        done = isinstance(trial.outcome, Finished)
        trained, barren = trained + done, 0 if done else barren + 1
    if trained < count:
        runner.listener.note(f"{trained} of {count} random architectures trained: {why}")


def _is_worth_retrying(trial: Trial) -> bool:
    return isinstance(trial.outcome, Failed) and trial.outcome.reason == "training"


def _draws(space: SearchSpace, seed: int) -> Iterator[ArchConfig]:
    """Different architectures, every axis drawn evenly by itself, until nothing new comes."""
    generator = random.Random(f"control {seed}")
    seen: set[str] = set()
    repeated = 0
    while repeated < _MAX_REPEATED:
        arch = space.decode(draw_params(space, generator))
        repeated = repeated + 1 if arch.key in seen else 0
        if not repeated:
            seen.add(arch.key)
            yield arch
