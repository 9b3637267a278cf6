"""The confirmation: finalists are trained again with fresh seeds, and scored on images that the search never saw.

It goes seed by seed, the same seed for all that still race, so that differences are paired. Candidates drop out
(`still_racing`); the published widths around the budget get all seeds.
"""

from collections.abc import Collection
from dataclasses import replace

from mvit2_search.analysis.confirmation import bracketing_widths, choose_finalists, confirmations, dropped_out
from mvit2_search.arch import ArchConfig
from mvit2_search.records import (
    ConfirmationPlan,
    Failed,
    Finished,
    Score,
    Trial,
)
from mvit2_search.search.events import Stop
from mvit2_search.search.runner import RUNNING, Runner
from mvit2_search.store import StoredStudy

_FRESH = 1_000  # seeds of the confirmation start this far after the search's


def confirm(runner: Runner, seeds: int, stop: Stop) -> bool:
    """Train the finalists with up to `seeds` fresh seeds each; gives whether it came to its end.

    Scores of before are kept, failures are tried again.
    """
    first = runner.seed + _FRESH
    plan = _plan(runner, range(first, first + seeds))
    for seed in plan.seeds:
        for trial in _left(runner.study, plan, seed):
            if stop.requested:
                return False
            _train(runner, trial, seed)
    return True


def is_anything_left(study: StoredStudy) -> bool:
    """Whether `confirm` would try a training again that failed."""
    plan = study.plan()
    if plan is None or not any(score.may_be_tried_again for score in study.scores()):
        return False
    return any(_left(study, plan, seed) for seed in plan.seeds)


def _plan(runner: Runner, seeds: Collection[int]) -> ConfirmationPlan:
    """The finalists, chosen once for as many candidates as are trained: later scores would change the choice.

    A finalist of before that is none among more candidates keeps its scores, but is not compared.
    """
    study, state = runner.study, runner.state
    kept, trained = study.plan(), state.count_candidates()
    keys = kept.keys if kept is not None and kept.candidates == trained else _finalists(runner)
    widths = tuple(t.arch.key for t in bracketing_widths(state.all_trials(), state.limits))
    plan = ConfirmationPlan(keys=keys, widths=widths, seeds=tuple(seeds), candidates=trained)
    study.set_fact("finalists", plan)
    return plan


def _finalists(runner: Runner) -> tuple[str, ...]:
    state, study = runner.state, runner.study
    confirmed = confirmations(state.all_trials(), study.scores())
    images = study.inputs.data.selection
    chosen = choose_finalists(state.trials, state.limits, images=images, confirmed=confirmed)
    return tuple(t.arch.key for t in chosen)


def _left(study: StoredStudy, plan: ConfirmationPlan, seed: int) -> list[Trial]:
    """What is to be trained with `seed`: the widths and what is still racing, but for those that have a score."""
    trials, scores = study.all_trials(), study.scores()
    once = {t.arch.key: t for t in reversed(trials) if isinstance(t.outcome, Finished)}
    before = confirmations(trials, [s for s in scores if s.seed < seed], plan.keys)
    out = dropped_out(before, images=study.inputs.data.confirmation)
    done = {(s.subject, s.seed) for s in scores if not s.may_be_tried_again}
    candidates = [once[key] for key in plan.keys if key not in out]
    widths = bracketing_widths(trials, study.limits)
    return [t for t in [*candidates, *widths] if (t.arch.key, seed) not in done]


def _train(runner: Runner, trial: Trial, seed: int) -> None:
    runner.listener.started(trial.name, trial.arch)
    before = [s.tries for s in runner.study.scores() if (s.subject, s.seed) == (trial.arch.key, seed)]
    score = Score(subject=trial.arch.key, seed=seed, result=RUNNING, tries=1 + sum(before))
    runner.study.add_score(score)  # stays if this process is killed
    score = _scored(runner, trial.arch, score)
    runner.study.add_score(score)
    runner.listener.scored(runner.study, score, trial.name)


def _scored(runner: Runner, arch: ArchConfig, score: Score) -> Score:
    """`score` with what came of the training, or what another study has."""
    if kept := runner.state.kept.scores.get((arch.key, score.seed)):
        return replace(score, result=kept.result, balanced=kept.balanced)
    running = runner.jobs.train(arch, seed=score.seed, part="confirmation")
    scores = list(runner.jobs.follow(running))
    if (result := running.result()).ending == "failed":
        return replace(score, result=Failed(reason="training", message=result.failure))
    return replace(score, result=scores[-1].score, balanced=scores[-1].balanced)
