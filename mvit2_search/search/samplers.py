"""What proposes the next candidate: by name, with all that is known of networks before they are trained."""

from collections.abc import Sequence

import numpy as np
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from mvit2_search.errors import MeasurementError
from mvit2_search.records import Finished, Stopped, Trial
from mvit2_search.sampler import Domain, FrontSampler, Params, Span, exactly
from mvit2_search.search.budget_sampler import BudgetSampler
from mvit2_search.search.forecast import Guess
from mvit2_search.search.foresight import Foresight
from mvit2_search.search.networks import Network, Networks, distributions
from mvit2_search.search.trials import TrialRunner

_FIRST = 5  # trained networks, published ones included, after which the model proposes


def expected_end_pct(outcome: Finished | Stopped, trials: Sequence[Trial]) -> float:
    """The accuracy at the end; of a stopped training its last, and what finished ones gained from there on."""
    if isinstance(outcome, Finished):
        return outcome.accuracy_pct
    epoch = len(outcome.curve_pct)
    finished = [t.outcome for t in trials if isinstance(t.outcome, Finished)]
    rises = [one.accuracy_pct - one.curve_pct[epoch - 1] for one in finished if len(one.curve_pct) > epoch]
    return outcome.curve_pct[-1] + float(np.mean(rises)) if rises else outcome.curve_pct[-1]


class Samplers:
    """`next` gives the sampler called `name` for one proposal."""

    def __init__(self, name: str, networks: Networks, runner: TrialRunner, *, seed: int) -> None:
        self._name, self._networks, self._runner, self._seed = name, networks, runner, seed
        timed = [(t.arch, t.latency.latency_ms) for t in runner.trials if t.latency is not None]
        kept = runner.evaluator.latencies.kept()
        self._foresight = Foresight([*kept, *timed], runner.num_classes)
        self._untimed: set[str] = set()  # keys of those that could not be

    def next(self, guess: Guess) -> BaseSampler:
        """For the proposal after the trials so far; `guess` is what they tell of latencies."""
        if self._name != "front":
            return BudgetSampler(
                self._networks, base=self._name, tried=self._runner.known, guess=guess, seed=self._seed
            )
        for trial in self._runner.trials[-1:]:
            if trial.latency is not None:
                self._foresight.learn(trial.arch, trial.latency.latency_ms)
        return FrontSampler(self._domain(guess), seed=self._seed, score=self._score, first=_FIRST)

    def _score(self, frozen: FrozenTrial) -> tuple[float, float] | None:
        """Accuracy and latency of a trained network; of a stopped one, where it would have ended."""
        trial = self._runner.by_number.get(frozen.number)
        if trial is None or not isinstance(trial.outcome, Finished | Stopped):
            return None
        return expected_end_pct(trial.outcome, self._runner.trials), trial.outcome.latency.latency_ms

    def _domain(self, guess: Guess) -> Domain:
        space = self._networks.space
        return Domain(
            distributions=distributions(space),
            latency=lambda params: self._span(params, guess),
            limit_ms=guess.limits.latency_ms,
            key=lambda params: self._networks.of(params).key,
            cheapest=space.lowest,
            every=lambda: self._networks.untried(self._runner.known, guess),
            measure=None if self._runner.evaluator.latencies.is_instant else self._measure,
        )

    def _span(self, params: Sequence[Params], guess: Guess) -> Span:
        """Latencies; infinite where there is none, or a network has too many parameters."""
        networks = [self._networks.of(one) for one in params]
        if self._runner.evaluator.latencies.is_instant:
            span = exactly(np.array([self._instant(network) for network in networks]))
        else:
            span = self._foresight.span(networks, guess.forecast)
        most = guess.limits.max_params or np.inf
        allowed_M = np.array([n.cost.params <= most and n.key not in self._untimed for n in networks])
        return Span(*(np.where(allowed_M, ms_M, np.inf) for ms_M in (span.low_M, span.ms_M, span.high_M)))

    def _instant(self, network: Network) -> float:
        try:
            return self._runner.evaluator.latencies.of(network.arch).latency_ms
        except MeasurementError:  # an estimate refuses what it knows nothing of
            return np.inf

    def _measure(self, params: Params) -> float:
        network = self._networks.of(params)
        try:
            latency_ms = self._runner.evaluator.latency(network.arch).latency_ms
        except MeasurementError:
            self._untimed.add(network.key)
            raise
        self._foresight.learn(network.arch, latency_ms)
        return latency_ms
