"""The published widths: what the search has to beat."""

from mvit2_search.arch import PUBLISHED_WIDTHS, ArchConfig, published_name
from mvit2_search.records import Failed, Trial
from mvit2_search.search.networks import distributions
from mvit2_search.search.stop import Stop
from mvit2_search.search.trials import TrialRunner


def run_baselines(runner: TrialRunner, stop: Stop) -> None:
    """Time all published widths; train those within the limits and the first beyond.

    Those that the space can express are ordinary trials. Trials that are queued already, because a
    killed driver left them open, come first.
    """
    for width in PUBLISHED_WIDTHS:
        _run_queued(runner, stop)
        name = published_name(width)
        if stop.requested or name in {trial.baseline for trial in _baselines(runner)}:
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


def _is_wanted(runner: TrialRunner, name: str | None) -> bool:
    """Whether a published width is trained even if it is beyond the limits: no smaller one is."""
    return name is not None and all(
        runner.limits.allow(trial.latency, trial.params)
        for trial in _baselines(runner)
        if trial.latency is not None and _width(trial.baseline) < _width(name)
    )


def _baselines(runner: TrialRunner) -> list[Trial]:
    """The published widths so far; one outside of the space that failed is tried again."""
    outside = [t for t in runner.study.outside() if not isinstance(t.outcome, Failed)]
    return [t for t in [*runner.trials, *outside] if t.baseline is not None]


def _width(name: str | None) -> float:
    return next(width for width in PUBLISHED_WIDTHS if published_name(width) == name)
