"""The search loop: candidates until enough are trained or none is left."""

from time import monotonic

from mvit2_search.arch import ArchConfig
from mvit2_search.errors import MeasurementError
from mvit2_search.models.complexity import network_cost
from mvit2_search.records import Failed, Finished, Infeasible, Stopped, Trial
from mvit2_search.search.forecast import Forecast
from mvit2_search.search.interrupt import Interrupt
from mvit2_search.search.request import Request
from mvit2_search.search.sampler import BudgetSampler, Cost, Networks, distributions
from mvit2_search.search.trials import TrialRunner

_MAX_BARREN = 30  # in a row


def search_candidates(runner: TrialRunner, request: Request, interrupt: Interrupt) -> str | None:
    """Run candidates until `request` is met or nothing is left to try.

    Returns:
        Why the search ended, in words; None where the same request would go on.

    Raises:
        MVit2SearchError: trials fail one after the other for the same reason.
    """
    start = monotonic()
    networks = Networks(runner.space)
    while not interrupt.requested:
        if _trained(runner) >= request.trials:
            return f"{request.trials} candidates are trained"
        if request.max_hours is not None and monotonic() - start > 3600 * request.max_hours:
            runner.listener.note(f"{request.max_hours:g} hours are over; the same command goes on from here")
            return None
        cost = _cost(runner)
        if reason := _hopeless(runner, networks, cost):
            return reason
        sampler = BudgetSampler(runner.space, networks, set(runner.known), cost, request.seed)
        runner.run(runner.study.ask(sampler, distributions(runner.space)))
    return None


def is_trained_candidate(trial: Trial) -> bool:
    """Whether a trial counts towards `--trials`."""
    return isinstance(trial.outcome, Finished | Stopped) and trial.baseline is None and trial.repeats is None


def _trained(runner: TrialRunner) -> int:
    return sum(is_trained_candidate(trial) for trial in runner.trials)


def _cost(runner: TrialRunner) -> Cost:
    """The guessed share of the limits that a network takes."""
    trials = [*runner.trials, *runner.study.outside()]
    measured = [t for t in trials if t.measurement is not None]
    if not measured:
        raise MeasurementError(f"no published width could be timed: {_message(trials[0])}")
    forecast = Forecast([t.macs for t in measured], [t.measurement.latency_ms for t in measured if t.measurement])
    limits, num_classes = runner.limits, runner.num_classes

    def cost(arch: ArchConfig) -> float:
        network = network_cost(arch, num_classes)
        share = forecast.latency_ms(network.macs) / limits.latency_ms
        return share if limits.max_params is None else max(share, network.params / limits.max_params)

    return cost


def _message(trial: Trial) -> str:
    return trial.outcome.message if isinstance(trial.outcome, Failed) else ""


def _hopeless(runner: TrialRunner, networks: Networks, cost: Cost) -> str | None:
    """Why nothing more can come of the search, or None."""
    if networks.untried(set(runner.known), cost) == []:
        return "every network of the space that may fit the budget has been tried"
    cheapest = runner.known.get(networks.cheapest.key)
    if cheapest is not None and isinstance(cheapest.outcome, Infeasible):
        return f"even the cheapest network of the space takes {cheapest.outcome.measurement.latency_ms:.2f} ms"
    last = [t for t in runner.trials if t.baseline is None][-_MAX_BARREN:]
    if len(last) == _MAX_BARREN and all(isinstance(t.outcome, Infeasible) or t.repeats is not None for t in last):
        return f"the last {_MAX_BARREN} candidates were over the budget or had been tried before"
    return None
