"""The search loop: candidates until enough are trained or none is left."""

from mvit2_search.records import Infeasible
from mvit2_search.search.forecast import Guess
from mvit2_search.search.guess import guess_from
from mvit2_search.search.networks import Networks, distributions
from mvit2_search.search.request import Request
from mvit2_search.search.samplers import Samplers
from mvit2_search.search.stop import Stop
from mvit2_search.search.trials import TrialRunner

_MAX_BARREN = 30  # in a row


def search_candidates(runner: TrialRunner, request: Request, stop: Stop) -> str | None:
    """Run candidates until `request` is met or nothing is left to try.

    Returns:
        Why the search ended, in words; None where the same request would go on.

    Raises:
        MVit2SearchError: trials fail one after the other for the same reason.
    """
    networks = Networks(runner.space, runner.num_classes)
    samplers = Samplers(request.sampler, networks, runner, seed=request.seed)
    while not stop.requested:
        if sum(trial.is_trained_candidate for trial in runner.trials) >= request.trials:
            return f"the candidates asked for ({request.trials}) are trained"
        guess = guess_from(runner, runner.trials)
        if reason := _hopeless(runner, networks, guess):
            return reason
        _queue_kept(runner)
        runner.run(runner.study.ask(samplers.next(guess), distributions(runner.space)))
    return None


def _queue_kept(runner: TrialRunner) -> None:
    """Candidates whose accuracies another study keeps come first, in its order, each as soon as it is its turn."""
    tried = {trial.arch.key for trial in runner.trials}
    left = [params for key, params in runner.evaluator.kept.candidates.items() if key not in tried]
    if left and not runner.study.queued():
        runner.study.queue(left[0])


def _hopeless(runner: TrialRunner, networks: Networks, guess: Guess) -> str | None:
    """Why nothing more can come of the search, or None."""
    if networks.untried(runner.known, guess) == []:
        return "every network of the space that may fit the budget has been tried"
    cheapest = runner.known.get(networks.cheapest.key)
    if cheapest is not None and isinstance(cheapest.outcome, Infeasible):
        took = f"{cheapest.outcome.latency} and has {cheapest.params:,} parameters"
        return f"even the network at the low end of the space takes {took}"
    kept = runner.evaluator.kept.candidates
    last = [t for t in runner.trials if t.baseline is None and t.arch.key not in kept][-_MAX_BARREN:]
    if len(last) == _MAX_BARREN and not any(t.is_trained_candidate for t in last):
        return f"of the last {_MAX_BARREN} candidates none was new, within the budget and trained"
    return None
