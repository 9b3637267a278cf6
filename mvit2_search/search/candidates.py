"""The search loop: candidates until enough are trained or none is left."""

from time import monotonic

from mvit2_search.arch import ArchConfig
from mvit2_search.models.complexity import network_cost
from mvit2_search.records import Failed, Finished, Infeasible, Stopped, Trial
from mvit2_search.search.forecast import Forecast
from mvit2_search.search.interrupt import Interrupt
from mvit2_search.search.request import Request
from mvit2_search.search.sampler import BudgetSampler, Cost, Networks, distributions
from mvit2_search.search.trials import INTERRUPTED, TrialRunner

_MAX_FAILURES = 5  # in a row, for the same reason
_MAX_INFEASIBLE = 30  # in a row
_GUESS_ERROR = 1.1  # a network guessed to be this much over the budget may still be within


def search_candidates(runner: TrialRunner, request: Request, interrupt: Interrupt) -> str:
    """Run candidates until `request` is met; why the search ended, in words."""
    start = monotonic()
    networks = Networks(runner.space)
    while not interrupt.requested:
        if _trained(runner) >= request.trials:
            return f"{request.trials} candidates are trained"
        if request.max_hours is not None and monotonic() - start > 3600 * request.max_hours:
            return f"{request.max_hours:g} hours are over"
        cost = _cost(runner)
        if reason := _hopeless(runner, networks, cost):
            return reason
        sampler = BudgetSampler(runner.space, networks, set(runner.known), cost, request.seed)
        runner.run(runner.study.ask(sampler, distributions(runner.space)))
    return "interrupted"


def is_trained_candidate(trial: Trial) -> bool:
    """Whether a trial counts towards `--trials`."""
    return isinstance(trial.outcome, Finished | Stopped) and trial.baseline is None and trial.repeats is None


def _trained(runner: TrialRunner) -> int:
    return sum(is_trained_candidate(trial) for trial in runner.study.trials())


def _cost(runner: TrialRunner) -> Cost:
    """The guessed share of the limits that a network takes."""
    measured = [t for t in [*runner.study.trials(), *runner.study.outside()] if t.measurement is not None]
    forecast = Forecast([t.macs for t in measured], [t.measurement.latency_ms for t in measured if t.measurement])
    limits, num_classes = runner.limits, runner.num_classes

    def cost(arch: ArchConfig) -> float:
        network = network_cost(arch, num_classes)
        share = forecast.latency_ms(network.macs) / limits.latency_ms
        return share if limits.max_params is None else max(share, network.params / limits.max_params)

    return cost


def _hopeless(runner: TrialRunner, networks: Networks, cost: Cost) -> str | None:
    """Why nothing more can come of the search, or None."""
    left = networks.untried(set(runner.known), lambda arch: cost(arch) / _GUESS_ERROR)
    if left == []:
        return "every network of the space that may fit the budget has been tried"
    cheapest = runner.known.get(networks.cheapest.key)
    if cheapest is not None and isinstance(cheapest.outcome, Infeasible):
        return f"even the cheapest network of the space takes {cheapest.outcome.measurement.latency_ms:.2f} ms"
    last = [t for t in runner.study.trials() if t.baseline is None and not _interrupted(t)]
    if len(last) >= _MAX_INFEASIBLE and all(isinstance(t.outcome, Infeasible) for t in last[-_MAX_INFEASIBLE:]):
        return f"the last {_MAX_INFEASIBLE} candidates were all over the budget"
    reasons = {t.outcome.reason if isinstance(t.outcome, Failed) else None for t in last[-_MAX_FAILURES:]}
    if len(last) >= _MAX_FAILURES and len(reasons) == 1 and None not in reasons:
        message = last[-1].outcome.message if isinstance(last[-1].outcome, Failed) else ""
        return f"the last {_MAX_FAILURES} candidates all failed: {message}"
    return None


def _interrupted(trial: Trial) -> bool:
    return isinstance(trial.outcome, Failed) and trial.outcome.reason == INTERRUPTED
