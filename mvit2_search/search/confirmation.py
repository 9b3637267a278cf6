"""The last step: the finalists once more, with fresh seeds, on images that the search never saw.

Round by round: one seed for all that is still racing, so that the differences are paired, and no further seed
for what is distinguishably worse than the best candidate (`verdict.still_racing`). The published widths around
the budget get all seeds.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

from mvit2_search.arch import ArchConfig
from mvit2_search.errors import TrainingError
from mvit2_search.records import INTERRUPTED, ConfirmationPlan, Failed, Finished, Score, Trial
from mvit2_search.search.finalists import bracket, choose_candidates
from mvit2_search.search.stop import Stop
from mvit2_search.search.trials import TrialRunner
from mvit2_search.store import StoredStudy
from mvit2_search.verdict import Confirmed, confirmations, still_racing

_FRESH = 1_000  # seeds of the confirmation start this far after the search's


def confirm(runner: TrialRunner, seeds: int, stop: Stop) -> bool:
    """Train the finalists with up to `seeds` fresh seeds; what is there is kept, what failed is tried again.

    Returns:
        Whether it came to its end.
    """
    widths = bracket([*runner.trials, *runner.study.outside()], runner.limits)
    first = runner.seed + _FRESH
    plan = _plan(runner, widths, range(first, first + seeds))
    for seed in plan.seeds:
        for trial in _left(runner.study, runner.trials, plan, seed):
            if stop.requested:
                return False
            _train(runner, trial, seed)
    return True


def is_anything_left(study: StoredStudy) -> bool:
    """Whether `confirm` would train again what failed."""
    plan = study.plan()
    if plan is None or not any(score.may_be_tried_again for score in study.scores()):
        return False
    trials = study.trials()
    return any(_left(study, trials, plan, seed) for seed in plan.seeds)


def _left(study: StoredStudy, trials: Sequence[Trial], plan: ConfirmationPlan, seed: int) -> list[Trial]:
    """What has no score of `seed` yet, or failed and is tried again: what is still racing, and the widths."""
    once = {t.arch.key: t for t in reversed(trials) if isinstance(t.outcome, Finished)}
    before = _confirmed(study, trials, before=seed, finalists=plan.keys)
    racing = {c.trial.arch.key for c in still_racing(before, images=_images(study, "confirmation"))}
    out = {c.trial.arch.key for c in before if c.trial.baseline is None} - racing
    done = {(s.subject, s.seed) for s in study.scores() if not s.may_be_tried_again}
    candidates = [once[key] for key in plan.keys if key not in out]
    widths = bracket([*trials, *study.outside()], study.limits)
    return [t for t in [*candidates, *widths] if (t.arch.key, seed) not in done]


def _plan(runner: TrialRunner, widths: Collection[Trial], seeds: Collection[int]) -> ConfirmationPlan:
    """The finalists of all candidates so far, chosen once for as many as there are.

    Who was a finalist among fewer candidates and is none any more keeps its scores and is not compared. The choice
    is kept: later scores may tell more of how much a seed does, and would change it half-way.
    """
    kept, trained = runner.study.plan(), sum(t.is_trained_candidate for t in runner.trials)
    keys = kept.keys if kept is not None and kept.candidates == trained else _finalists(runner)
    plan = ConfirmationPlan(
        keys=keys, widths=tuple(t.arch.key for t in widths), seeds=tuple(seeds), candidates=trained
    )
    runner.study.set_plan(plan)
    return plan


def _finalists(runner: TrialRunner) -> tuple[str, ...]:
    images, confirmed = _images(runner.study, "selection"), _confirmed(runner.study, runner.trials)
    chosen = choose_candidates(runner.trials, runner.limits, images=images, confirmed=confirmed)
    return tuple(t.arch.key for t in chosen)


def _confirmed(
    study: StoredStudy,
    trials: Sequence[Trial],
    *,
    before: int | None = None,
    finalists: Collection[str] | None = None,
) -> list[Confirmed]:
    """What the scores say, or those of the seeds before one alone."""
    scores = [s for s in study.scores() if before is None or s.seed < before]
    return confirmations([*trials, *study.outside()], scores, finalists)


def _images(study: StoredStudy, part: str) -> int:
    return int(study.fact("inputs")["data"][part])


def _train(runner: TrialRunner, trial: Trial, seed: int) -> None:
    """A score that says that it was interrupted is kept first, in case this process ends."""
    runner.listener.started(trial.number, trial.arch, trial.baseline)
    before = [s.tries for s in runner.study.scores() if (s.subject, s.seed) == (trial.arch.key, seed)]
    lost = Failed(reason=INTERRUPTED, message="it runs, or the search was stopped while it ran")
    score = Score(subject=trial.arch.key, seed=seed, result=lost, tries=1 + sum(before))
    runner.study.add_score(score)
    score = _scored(runner, trial.arch, score)
    runner.study.add_score(score)
    runner.listener.scored(runner.study, score, trial.name)


def _scored(runner: TrialRunner, arch: ArchConfig, score: Score) -> Score:
    """`score` with what came of the training."""
    try:
        found = runner.evaluator.confirm(arch, score.seed)
    except TrainingError as err:
        return replace(score, result=Failed(reason="training", message=str(err)))
    return replace(score, result=found.accuracy_pct, balanced_pct=found.balanced_pct)
