"""The published widths: what the search has to beat, as far as they can be timed and trained here."""

from collections.abc import Sequence

from mvit2_search.arch import PUBLISHED_WIDTHS, ArchConfig, published_name
from mvit2_search.records import Failed, Trial
from mvit2_search.search.networks import distributions
from mvit2_search.search.stop import Stop
from mvit2_search.search.trials import TrialRunner
from mvit2_search.store import StoredStudy

_NAMES = [published_name(width) for width in PUBLISHED_WIDTHS]  # from the smallest


def run_baselines(runner: TrialRunner, stop: Stop) -> None:
    """Time the published widths up to the second beyond the limits; train those within and the first beyond.

    Those that the space can express are ordinary trials. Trials that are queued already, because a
    killed driver left them open, come first. The search goes on without a width that fails; a later start tries
    it again, unless it is given up.
    """
    before = _widths(_trials(runner))
    for width, name in zip(PUBLISHED_WIDTHS, _NAMES, strict=True):
        _run_queued(runner, stop)
        if stop.requested or name not in _needed(runner.study, _trials(runner)):
            continue
        known = _widths(_trials(runner)).get(name)
        if known is not None and not (known.may_be_tried_again and known == before.get(name)):
            continue
        if (params := runner.space.encode_width(width)) is not None:
            runner.study.queue_baseline(name, params)
        else:
            runner.run_outside(name, ArchConfig.mobilevitv2(width), train_anyway=_is_wanted(runner, name))
    _run_queued(runner, stop)


def _run_queued(runner: TrialRunner, stop: Stop) -> None:
    while runner.study.queued() and not stop.requested:
        proposal = runner.study.ask(None, distributions(runner.space))
        runner.run(proposal, train_anyway=_is_wanted(runner, proposal.baseline))


def is_width_left(study: StoredStudy) -> bool:
    """Whether `run_baselines` would try a width again that failed."""
    trials = [*study.outside(), *study.trials()]
    widths = _widths(trials)
    return any(name in widths and widths[name].may_be_tried_again for name in _needed(study, trials))


def _trials(runner: TrialRunner) -> list[Trial]:
    return [*runner.study.outside(), *runner.trials]


def _needed(study: StoredStudy, trials: Sequence[Trial]) -> list[str]:
    """The widths up to the second beyond the limits: the line through them has to cross the budget.

    One that the device refuses counts as beyond if it is larger than all that are within, of which there has to be
    one: what comes after it is larger still.
    """
    limits, widths, budget = study.limits, _widths(trials), study.fact("inputs")["latency_budget"]
    known = [(i, widths[name]) for i, name in enumerate(_NAMES) if name in widths]
    within = [i for i, trial in known if limits.allow_trial(trial)]
    within += [i for i, name in enumerate(_NAMES) if name == budget]
    beyond = [i for i, trial in known if trial.latency is not None and not limits.allow_trial(trial)]
    beyond += [i for i, trial in known if within and i > max(within) and _is_refused(trial)]
    return _NAMES[: min(beyond) + 2] if beyond else _NAMES


def _is_refused(trial: Trial) -> bool:
    return isinstance(trial.outcome, Failed) and trial.outcome.reason == "measurement"


def _is_wanted(runner: TrialRunner, name: str | None) -> bool:
    """Whether a published width is trained even if it is beyond the limits: all smaller ones are within them."""
    if name is None:
        return False
    known = _widths(_trials(runner))
    smaller = _NAMES[: _NAMES.index(name)]
    return all(one in known and runner.limits.allow_trial(known[one]) for one in smaller)


def _widths(trials: Sequence[Trial]) -> dict[str, Trial]:
    """By name the published widths so far: the one that did not fail, else the last that did."""
    ordered = sorted(trials, key=lambda trial: not isinstance(trial.outcome, Failed))
    return {trial.baseline: trial for trial in ordered if trial.baseline is not None}
