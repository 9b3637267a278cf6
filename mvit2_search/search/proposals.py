"""Which sampler proposes the next candidate, and what it is told: latencies and accuracies known or guessed."""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from mvit2_search.arch.cost import network_cost
from mvit2_search.errors import MeasurementError
from mvit2_search.measure.timer import REFERENCE, REFERENCE_HEAD
from mvit2_search.predict.guess import Guess, LatencyBounds, LatencyGuesses, PowerLaw, exactly
from mvit2_search.records import Finished, Stopped, Trial
from mvit2_search.sampler.domain import Domain, Params
from mvit2_search.sampler.front import FrontSampler
from mvit2_search.sampler.optuna import BudgetSampler, Networks, distributions
from mvit2_search.search.runner import Runner

_FIRST = 5  # trained networks, published ones included, after which the model proposes


class Samplers:
    """`next` gives the sampler called `name` for one proposal."""

    def __init__(self, name: str, networks: Networks, runner: Runner, *, seed: int) -> None:
        self._name, self._networks, self._runner, self._seed = name, networks, runner, seed
        self._guesses = self._known() if name == "front" else LatencyGuesses([], runner.head)
        self._learned = len(runner.state.trials)
        self._untimed: set[str] = set()  # keys of networks that the device refused

    def next(self, guess: Guess) -> BaseSampler:
        """For the proposal after the trials so far; `guess` is what they tell of latencies."""
        state = self._runner.state
        if self._name != "front":
            return BudgetSampler(self._networks, base=self._name, tried=state.known, guess=guess, seed=self._seed)
        for trial in state.trials[self._learned :]:
            if trial.latency is not None:
                self._guesses.add(trial.arch, trial.latency)
        self._learned = len(state.trials)
        return FrontSampler(self._domain(guess), seed=self._seed, score=self._score(), first=_FIRST)

    def _known(self) -> LatencyGuesses:
        """The latencies that this study has asked for, in that order.

        What other studies have measured is left out: it would make two studies of one seed differ. So are
        latencies that were asked for to choose a trial that was lost: they will be asked for at the same place
        again, and be at hand.
        """
        study, state = self._runner.study, self._runner.state
        probes = study.probes()
        asked = [(trial.arch, trial.latency) for trial in study.outside()]
        for trial in state.trials:
            asked += [(probe.arch, probe.latency) for probe in probes.pop(trial.number or 0, [])]
            asked.append((trial.arch, trial.latency))
        for lost in probes.values():
            state.latencies |= {probe.arch.key: probe.latency for probe in lost}
        timed = [(arch, latency) for arch, latency in asked if latency is not None]
        return LatencyGuesses(timed, self._runner.head)

    def _score(self) -> Callable[[FrozenTrial], tuple[float, float] | None]:
        """Accuracy and latency of the networks that have been trained, stopped ones among them."""
        trials = self._runner.state.trials
        ends = ends_pct(trials, dominated=self._runner.stopping.stops_dominated)
        latencies = {t.number: t.latency.latency_ms for t in trials if t.latency is not None}
        return lambda frozen: (ends[frozen.number], latencies[frozen.number]) if frozen.number in ends else None

    def _domain(self, guess: Guess) -> Domain:
        space, known = self._networks.space, self._runner.state.known
        return Domain(
            distributions=distributions(space),
            latency=lambda params: self._bounds(params, guess),
            limit_ms=guess.limits.latency_ms,
            key=lambda params: self._networks.of(params).key,
            cheapest=space.lowest,
            remaining=lambda: self._networks.untried(known, guess),
            measure=self._measure if self._runner.jobs.latencies.quick is None else None,
        )

    def _bounds(self, params: Sequence[Params], guess: Guess) -> LatencyBounds:
        """Latencies; infinite where a network was refused or has too many parameters."""
        networks = [self._networks.of(one) for one in params]
        if (quick := self._runner.jobs.latencies.quick) is None:
            bounds = self._guesses.bounds(networks, guess.law)
        else:
            bounds = exactly(np.array([network.estimate_ms(quick) for network in networks]))
        most = guess.limits.max_params
        allowed_M = np.array(
            [n.key not in self._untimed and (most is None or n.cost.params <= most) for n in networks]
        )
        return LatencyBounds(*(np.where(allowed_M, ms_M, np.inf) for ms_M in (bounds.ms_M, bounds.high_M)))

    def _measure(self, params: Params) -> float:
        network = self._networks.of(params)
        try:
            latency = self._runner.probe(network.arch)
        except MeasurementError:
            self._untimed.add(network.key)
            raise
        self._guesses.add(network.arch, latency)
        return latency.latency_ms


def guess_from(runner: Runner, trials: Sequence[Trial]) -> Guess:
    """From the latencies of `trials`; where there is none, from that of the reference, known on every device."""
    timed = [(t.macs, t.latency.latency_ms) for t in trials if t.latency is not None]
    if not timed:
        timed = [(network_cost(REFERENCE, REFERENCE_HEAD).macs, runner.jobs.latencies.reference_ms)]
    macs_N, latencies_ms = zip(*timed, strict=True)
    return Guess(PowerLaw(macs_N, latencies_ms), runner.state.limits)


def ends_pct(trials: Sequence[Trial], *, dominated: bool) -> dict[int, float]:
    """The accuracy of every trained network by number: of a stopped one, where its training would have ended.

    That is its last accuracy and what finished ones gained from there on, on average.

    Args:
        dominated: whether trainings are stopped only where they would not beat what is as fast, whose accuracy
            they then do not exceed.
    """
    finished = [t.outcome for t in trials if isinstance(t.outcome, Finished) and t.repeats is None]
    stopped = {t.number or 0: t.outcome for t in trials if isinstance(t.outcome, Stopped)}
    gains: dict[int, float] = {}
    for epoch in {len(outcome.curve) for outcome in stopped.values()}:
        gained = [one.score - one.curve[epoch - 1] for one in finished if len(one.curve) > epoch]
        gains[epoch] = float(np.mean(gained)) if gained else 0.0
    ends = {t.number or 0: t.outcome.score for t in trials if isinstance(t.outcome, Finished)}
    points = sorted((one.latency.latency_ms, one.score) for one in finished)
    latencies_ms = [latency_ms for latency_ms, _ in points]
    best = [math.inf, *accumulate((score for _, score in points), max)]  # of the i fastest
    for number, outcome in stopped.items():
        end = outcome.curve[-1] + gains[len(outcome.curve)]
        as_fast = bisect_right(latencies_ms, outcome.latency.latency_ms)
        ends[number] = min(end, best[as_fast]) if dominated else end
    return ends
