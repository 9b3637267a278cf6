"""The last step: the finalists once more, with fresh seeds, on images that the search never saw.

Round by round: one seed for all that is still racing, so that the differences are paired, and no further seed
for what is distinguishably worse than the best candidate (`verdict.still_racing`). The published widths around
the budget get all seeds.
"""

from dataclasses import replace

from mvit2_search.arch import ArchConfig
from mvit2_search.errors import TrainingError
from mvit2_search.interrupt import Interrupt
from mvit2_search.records import INTERRUPTED, Failed, Finished, Score, Trial
from mvit2_search.search.finalists import bracket, choose_candidates
from mvit2_search.search.trials import TrialRunner
from mvit2_search.verdict import Confirmed, confirmations, still_racing

_FRESH = 1_000  # seeds of the confirmation start this far after the search's
_FACT = "finalists"


def confirm(runner: TrialRunner, seeds: int, interrupt: Interrupt) -> None:
    """Train the finalists with up to `seeds` fresh seeds; what is there is kept, what failed is tried again."""
    widths = bracket([*runner.trials, *runner.study.outside()], runner.limits)
    candidates = _candidates(runner)
    for seed in range(runner.seed + _FRESH, runner.seed + _FRESH + seeds):
        before = _confirmed(runner, before=seed)
        racing = {c.trial.arch.key for c in still_racing(before, images=_images(runner, "confirmation"))}
        out = {c.trial.arch.key for c in before if c.trial.baseline is None} - racing
        done = {(s.subject, s.seed) for s in runner.study.scores() if not s.may_be_tried_again}
        for trial in [*(t for t in candidates if t.arch.key not in out), *widths]:
            if not interrupt.requested and (trial.arch.key, seed) not in done:
                _train(runner, trial, seed)


def _candidates(runner: TrialRunner) -> list[Trial]:
    """Those that are confirmed already, and those chosen now; chosen once for the trials that there are.

    The choice is kept: later scores may tell more of how much a seed does, and would change it half-way.
    """
    kept = runner.study.fact(_FACT)
    once = {t.arch.key: t for t in reversed(runner.trials) if isinstance(t.outcome, Finished)}
    if kept is None or kept["trials"] != len(runner.trials):
        confirmed = _confirmed(runner)
        before = [c.trial.arch.key for c in confirmed if c.trial.baseline is None]
        images = _images(runner, "selection")
        chosen = choose_candidates(runner.trials, runner.limits, images=images, confirmed=confirmed)
        keys = list(dict.fromkeys([*before, *(t.arch.key for t in chosen)]))
        kept = {"trials": len(runner.trials), "keys": keys}
        runner.study.set_fact(_FACT, kept)
    return [once[key] for key in kept["keys"]]


def _confirmed(runner: TrialRunner, *, before: int | None = None) -> list[Confirmed]:
    """What the scores say, or those of the seeds before one alone."""
    scores = [s for s in runner.study.scores() if before is None or s.seed < before]
    return confirmations([*runner.trials, *runner.study.outside()], scores)


def _images(runner: TrialRunner, part: str) -> int:
    return int(runner.study.fact("inputs")["data"][part])


def _train(runner: TrialRunner, trial: Trial, seed: int) -> None:
    """A score that says that it was interrupted is kept first, in case this process ends."""
    runner.listener.started(trial.number, trial.arch, trial.baseline)
    before = [s.tries for s in runner.study.scores() if (s.subject, s.seed) == (trial.arch.key, seed)]
    lost = Failed(reason=INTERRUPTED, message="it runs, or the search was stopped while it ran")
    score = Score(subject=trial.arch.key, seed=seed, result=lost, tries=1 + sum(before))
    runner.study.add_score(score)
    score = replace(score, result=_result(runner, trial.arch, seed))
    runner.study.add_score(score)
    runner.listener.scored(runner.study, score, trial.name)


def _result(runner: TrialRunner, arch: ArchConfig, seed: int) -> float | Failed:
    try:
        return runner.evaluator.train(arch, seed, "confirmation")[-1]
    except TrainingError as err:
        return Failed(reason="training", message=str(err))
