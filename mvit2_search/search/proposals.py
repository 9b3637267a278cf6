"""What proposes the next candidate: by name, with all that is known of networks before they are trained.

What can be told of latencies before a candidate is timed, from what a study has timed so far.

What proposes the next candidate: by name, with all that is known of networks before they are trained.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from mvit2_search.arch.cost import network_cost
from mvit2_search.errors import MeasurementError
from mvit2_search.measure.source import REFERENCE, REFERENCE_CLASSES
from mvit2_search.predict.guess import Guess, LatencyBounds, LatencyGuesses, PowerLaw, exactly
from mvit2_search.records import Finished, Stopped, Trial
from mvit2_search.sampler.domain import Domain, Params
from mvit2_search.sampler.front import FrontSampler
from mvit2_search.sampler.networks import Networks, distributions
from mvit2_search.sampler.optuna import BudgetSampler
from mvit2_search.search.state import TrialRunner


def guess_from(runner: TrialRunner, trials: Sequence[Trial]) -> Guess:
    """From the latencies of `trials` and of the published widths outside of the space.

    Where there is none yet, from that of the reference, which is known on every device.
    """
    known = [*trials, *runner.study.outside()]
    timed = [(t.macs, t.latency.latency_ms) for t in known if t.latency is not None]
    if not timed:
        macs = network_cost(REFERENCE, REFERENCE_CLASSES).macs
        timed = [(macs, runner.evaluator.latencies.reference_ms)]
    macs_N, latencies_ms = zip(*timed, strict=True)
    return Guess(PowerLaw(macs_N, latencies_ms), runner.limits)


_FIRST = 5  # trained networks, published ones included, after which the model proposes


def ends_pct(trials: Sequence[Trial], *, dominated: bool) -> dict[int, float]:
    """The accuracy of every trained network by number: of a stopped one, where its training would have ended.

    That is its last accuracy and what finished ones gained from there on.

    Args:
        dominated: whether trainings are stopped only where they would not beat what is as fast.
    """
    finished = [t.outcome for t in trials if isinstance(t.outcome, Finished) and t.repeats is None]
    stopped = {t.number or 0: t.outcome for t in trials if isinstance(t.outcome, Stopped)}
    rises: dict[int, float] = {}
    for epoch in {len(outcome.curve) for outcome in stopped.values()}:
        gained = [one.score - one.curve[epoch - 1] for one in finished if len(one.curve) > epoch]
        rises[epoch] = float(np.mean(gained)) if gained else 0.0
    ends = {t.number or 0: t.outcome.score for t in trials if isinstance(t.outcome, Finished)}
    best = _Best(finished)
    for number, outcome in stopped.items():
        end = outcome.curve[-1] + rises[len(outcome.curve)]
        ends[number] = min(end, best.within(outcome.latency.latency_ms)) if dominated else end
    return ends


class _Best:
    """The highest accuracy of what is as fast, for many latencies; infinite where nothing is."""

    def __init__(self, finished: Sequence[Finished]) -> None:
        points = sorted((one.latency.latency_ms, one.score) for one in finished)
        self._latency_ms = [latency_ms for latency_ms, _ in points]
        self._accuracy_pct = [math.inf, *accumulate((pct for _, pct in points), max)]

    def within(self, latency_ms: float) -> float:
        return self._accuracy_pct[bisect_right(self._latency_ms, latency_ms)]


class Samplers:
    """`next` gives the sampler called `name` for one proposal."""

    def __init__(self, name: str, networks: Networks, runner: TrialRunner, *, seed: int) -> None:
        self._name, self._networks, self._runner, self._seed = name, networks, runner, seed
        self._guesses = self._known() if name == "front" else LatencyGuesses([], runner.num_classes)
        self._untimed: set[str] = set()  # keys of those that could not be

    def next(self, guess: Guess) -> BaseSampler:
        """For the proposal after the trials so far; `guess` is what they tell of latencies."""
        if self._name != "front":
            return BudgetSampler(
                self._networks, base=self._name, tried=self._runner.known, guess=guess, seed=self._seed
            )
        for trial in self._runner.trials[-1:]:
            if trial.latency is not None:
                self._guesses.add(trial.arch, trial.latency)
        return FrontSampler(self._domain(guess), seed=self._seed, score=self._score(), first=_FIRST)

    def _known(self) -> LatencyGuesses:
        """Of the latencies that this study has asked for, in that order: what others in the results folder have
        measured would make two studies of one seed differ.

        What was asked for to choose a trial that was lost before it was chosen is not known yet: it is asked for
        again at the same place, and at hand then.
        """
        study = self._runner.study
        probes = study.probes()
        asked = [(t.arch, t.latency) for t in study.outside()]
        for trial in self._runner.trials:
            asked += [(probe.arch, probe.latency) for probe in probes.pop(trial.number or 0, [])]
            asked.append((trial.arch, trial.latency))
        for lost in probes.values():
            self._runner.evaluator.have_at_hand(lost)
        timed = [(arch, latency) for arch, latency in asked if latency is not None]
        return LatencyGuesses(timed, self._runner.num_classes)

    def _score(self) -> Callable[[FrozenTrial], tuple[float, float] | None]:
        """Accuracy and latency of the networks that have been trained, stopped ones among them."""
        ends = ends_pct(self._runner.trials, dominated=self._runner.stopping.stops_dominated)
        latencies = {t.number: t.latency.latency_ms for t in self._runner.trials if t.latency is not None}
        return lambda frozen: (ends[frozen.number], latencies[frozen.number]) if frozen.number in ends else None

    def _domain(self, guess: Guess) -> Domain:
        space = self._networks.space
        return Domain(
            distributions=distributions(space),
            latency=lambda params: self._span(params, guess),
            limit_ms=guess.limits.latency_ms,
            key=lambda params: self._networks.of(params).key,
            cheapest=space.lowest,
            remaining=lambda: self._networks.untried(self._runner.known, guess),
            measure=self._measure if self._runner.evaluator.latencies.quick is None else None,
        )

    def _span(self, params: Sequence[Params], guess: Guess) -> LatencyBounds:
        """Latencies; infinite where there is none, or a network has too many parameters."""
        networks = [self._networks.of(one) for one in params]
        if (quick := self._runner.evaluator.latencies.quick) is None:
            span = self._guesses.bounds(networks, guess.law)
        else:
            span = exactly(np.array([network.estimate_ms(quick) for network in networks]))
        most = guess.limits.max_params
        allowed_M = np.array(
            [n.key not in self._untimed and (most is None or n.cost.params <= most) for n in networks]
        )
        return LatencyBounds(*(np.where(allowed_M, ms_M, np.inf) for ms_M in (span.ms_M, span.high_M)))

    def _measure(self, params: Params) -> float:
        network = self._networks.of(params)
        study = self._runner.study
        try:
            with study.probing(network.key):
                latency = self._runner.evaluator.latency(network.arch)
        except MeasurementError:
            self._untimed.add(network.key)
            raise
        study.add_probe(network.arch, latency)
        self._guesses.add(network.arch, latency)
        return latency.latency_ms
