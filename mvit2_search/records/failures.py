"""Sentences on what failed for good. `run`, `status` and the report use the same ones."""

from collections.abc import Sequence

from mvit2_search.records.trial import INTERRUPTED, MOST_TRIES, Failed, Score, Trial

_DIFFERS = "So this search differs from one that was never stopped."


def failure_sentences(
    trials: Sequence[Trial], scores: Sequence[Score] = (), untimed: Sequence[str] = ()
) -> list[str]:
    """One for each published width that failed, and for whatever is given up."""
    widths = [t for t in _failed_widths(trials) if not t.is_given_up]
    return [*map(_sentence, widths), *given_up_sentences(trials, scores, untimed)]


def given_up_sentences(trials: Sequence[Trial], scores: Sequence[Score], untimed: Sequence[str] = ()) -> list[str]:
    """One for each trial, training of the confirmation and network to choose from that is not tried any more."""
    names = {trial.arch.key: trial.name for trial in reversed(trials)}
    lost = Failed(reason=INTERRUPTED, message="")
    found = [f"The timing of {key}, for choosing a trial, {_why(lost, MOST_TRIES)}" for key in untimed]
    found += [_sentence(trial) for trial in trials if trial.is_given_up]
    return found + [
        f"The confirmation of {names.get(score.subject, score.subject)} with seed {score.seed} "
        + _why(score.result, score.tries)
        for score in scores
        if isinstance(score.result, Failed) and score.is_given_up
    ]


def _failed_widths(trials: Sequence[Trial]) -> list[Trial]:
    """Of each published width that failed and never succeeded, the last attempt."""
    done = {t.published for t in trials if not isinstance(t.outcome, Failed)}
    last = {t.published: t for t in trials if t.published and t.published not in done}
    return [t for t in last.values() if isinstance(t.outcome, Failed) and t.outcome.reason != INTERRUPTED]


def _sentence(trial: Trial) -> str:
    assert isinstance(trial.outcome, Failed)
    name = trial.name if trial.published else f"{trial.name.capitalize()} ({trial.arch.key})"
    if trial.is_given_up:
        return f"{name} {_why(trial.outcome, trial.tries)}"
    return f"{name} failed in {trial.outcome.reason}: {trial.outcome.message}; the search goes on without it."


def _why(failed: Failed, tries: int) -> str:
    if failed.reason == INTERRUPTED:
        return f"was stopped {tries} times while it ran, and is not tried again. {_DIFFERS}"
    message = failed.message.rstrip(".")
    return f"failed {tries} times and is not tried again. The last failure, in {failed.reason}: {message}."
