"""The last step: the finalists once more, with fresh seeds, on images that the search never saw."""

from mvit2_search.arch import ArchConfig
from mvit2_search.errors import TrainingError
from mvit2_search.records import Failed, Score
from mvit2_search.search.interrupt import Interrupt
from mvit2_search.search.trials import TrialRunner
from mvit2_search.verdict import finalists

_FRESH = 1_000  # seeds of the confirmation start this far after the search's


def confirm(runner: TrialRunner, seeds: int, interrupt: Interrupt) -> None:
    """Train every finalist with `seeds` fresh seeds; what is there is kept, what failed is tried again."""
    chosen = finalists(runner.trials, runner.study.outside(), runner.limits)
    scores = runner.study.scores()
    done = {(score.subject, score.seed) for score in scores if not isinstance(score.result, Failed)}
    for seed in range(runner.seed + _FRESH, runner.seed + _FRESH + seeds):
        for trial in chosen:
            if interrupt.requested or (trial.arch.key, seed) in done:
                continue
            runner.listener.started(trial.number, trial.arch, trial.baseline)
            score = Score(subject=trial.arch.key, seed=seed, result=_result(runner, trial.arch, seed))
            runner.study.add_score(score)
            runner.listener.scored(runner.study, score, trial.name)


def _result(runner: TrialRunner, arch: ArchConfig, seed: int) -> float | Failed:
    try:
        return runner.evaluator.train(arch, seed, "confirmation")[-1]
    except TrainingError as err:
        return Failed(reason="training", message=str(err))
