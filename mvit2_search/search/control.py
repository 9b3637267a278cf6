"""Random architectures of the same space, trained like the candidates: what the search has to leave behind."""

import random
from collections.abc import Iterator

from mvit2_search.arch import ArchConfig
from mvit2_search.complexity import network_cost
from mvit2_search.records import Failed, Finished, Trial
from mvit2_search.search.guess import guess_from
from mvit2_search.search.stop import Stop
from mvit2_search.search.trials import TrialRunner
from mvit2_search.space import draw_params

_MAX_BARREN = 100  # timed draws in a row that came to nothing
_MAX_SKIPPED = 100_000  # draws in a row that are not worth timing, or were drawn before
_SURELY_OVER = 1.3  # times the limits by the guess from multiply-adds, which is hardly ever so far off


def run_control(runner: TrialRunner, count: int, stop: Stop) -> None:
    """Draw until `count` architectures within the limits are trained to the end.

    Draws follow from the study's seed and its published widths alone, so that a larger count goes on after a
    smaller; what was drawn before keeps its number. What is over the budget does not count; where multiply-adds
    tell, it is not even timed. A training that failed is tried again. No stopping rule ends them.
    """
    kept = {trial.arch.key: (index, trial) for index, trial in enumerate(runner.study.controls())}
    draws = _draws(runner)
    trained = barren = 0
    while trained < count and barren < _MAX_BARREN and not stop.requested:
        if (arch := next(draws, None)) is None:
            break
        index, trial = kept.get(arch.key, (len(kept), None))
        if trial is None or _is_worth_retrying(trial):
            trial = runner.run_control(index, arch, before=trial)
            kept[arch.key] = index, trial
        done = isinstance(trial.outcome, Finished)
        trained, barren = trained + done, 0 if done else barren + 1
    if trained < count and not stop.requested:
        runner.listener.note(f"{trained} of {count} random architectures trained: {_why(barren)}")


def _why(barren: int) -> str:
    if barren == _MAX_BARREN:
        return f"of the last {barren} drawn none was within the budget and trained"
    return f"{_MAX_SKIPPED:,} draws in a row were not new or far over the budget"


def _is_worth_retrying(trial: Trial) -> bool:
    """A device need not take every network of a space."""
    refused = isinstance(trial.outcome, Failed) and trial.outcome.reason == "measurement"
    return trial.may_be_tried_again and not refused


def _draws(runner: TrialRunner) -> Iterator[ArchConfig]:
    """Different architectures that may be within the limits, every axis drawn evenly, until none comes."""
    guess = guess_from(runner, [t for t in runner.trials if t.baseline is not None])
    generator = random.Random(f"control {runner.seed}")
    seen: set[str] = set()
    skipped = 0
    while skipped < _MAX_SKIPPED:
        arch = runner.space.decode(draw_params(runner.space, generator))
        skipped += 1
        if arch.key not in seen and guess.share(network_cost(arch, runner.num_classes)) <= _SURELY_OVER:
            skipped = 0
            seen.add(arch.key)
            yield arch
