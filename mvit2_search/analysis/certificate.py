"""Whether a proxy orders architectures as the truth does: from scores to findings and a verdict.

The truth has several seeds per network, the proxy one. Seed s of every network sees the same images in the same
order, so what a seed does to all networks alike is taken out before anything is compared.

The population is that of all architectures which could have been drawn, each with one run of the proxy and with so
many seeds of the truth. A seed that favours one kind of architecture, and the choice of images, no interval sees.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mvit2_search.analysis.axis_bias import Bias, biases
from mvit2_search.analysis.separation import Separation, ceiling_of, separation
from mvit2_search.analysis.tau import (
    LEAST_NETWORKS,
    Interval,
    agreement,
    difference_interval,
    rounded,
    tau_interval,
)

Verdict = Literal["ranks", "coarse", "useless"]

LEAST_SEEDS = 2  # of the truth: one cannot tell noise from architectures
RANKS_FROM = 0.5  # lower bound of tau from which on a proxy may be said to rank
BEST_OF = (1, 5, 16)  # so many of the proxy's best are retrained in the regret
_ROUNDING = 1e-18  # squared deviation


@dataclass(frozen=True, kw_only=True, slots=True)
class Tested:
    """What was observed of N networks.

    Attributes:
        proxy_N: score by the proxy, in percent.
        truth_NS: score with each of at least two seeds of the truth, in percent.
        latency_ms_N: positive.
        baselines: by name, what orders networks without training; more is taken to be better.
        axes: by name, the value on each axis of the space, None outside of the space; of words, a number for each.

    Raises:
        ValueError: fewer than three networks or two seeds, lists of unequal length, a number that is not finite.
    """

    proxy_N: tuple[float, ...]
    truth_NS: tuple[tuple[float, ...], ...]
    latency_ms_N: tuple[float, ...]
    baselines: Mapping[str, tuple[float, ...]]
    axes: Mapping[str, tuple[float | None, ...]]

    def __post_init__(self) -> None:
        n, seeds = len(self.proxy_N), {len(row) for row in self.truth_NS}
        if n < LEAST_NETWORKS:
            raise ValueError(f"{n} networks: a certificate needs {LEAST_NETWORKS}")
        if len(seeds) != 1 or min(seeds) < LEAST_SEEDS:
            raise ValueError(f"{sorted(seeds)} seeds of the truth: expected one number of at least {LEAST_SEEDS}")
        lists = [self.truth_NS, self.latency_ms_N, *self.baselines.values(), *self.axes.values()]
        if any(len(one) != n for one in lists):
            raise ValueError(f"lists of {sorted({n, *map(len, lists)})} networks: expected one length")
        if not all(map(math.isfinite, self._numbers())) or min(self.latency_ms_N) <= 0:
            raise ValueError("a score is not finite, or a latency not positive")

    def _numbers(self) -> list[float]:
        rows = [self.proxy_N, self.latency_ms_N, *self.truth_NS, *self.baselines.values(), *self.axes.values()]
        return [value for row in rows for value in row if value is not None]

    @property
    def mean_truth(self) -> np.ndarray:
        """The mean over seeds by network, in percent."""
        return rounded(np.mean(self.truth_NS, axis=1))


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """What a proxy's scores say about the truth.

    Attributes:
        tau: Kendall's, of the proxy with the mean truth.
        seed_tau: of one seed of the truth with another one, the mean over all pairs of seeds.
        ceiling: of a perfect proxy (the mean of endless seeds) with the mean truth, by `ceiling_of`.
        baselines: tau of each baseline with the mean truth.
        leads: tau of the proxy minus that of the baseline, from its better end, on the same networks.
        beyond_latency: tau of what a line in log latency leaves of the proxy and of the mean truth.
        regret_pct: points by which the best network is better than the best of so many of the proxy's best.
        bias: by axis; of axes with at least three known values, two of them different.
    """

    networks: int
    truth_seeds: int
    tau: Interval
    seed_tau: Interval
    ceiling: Interval
    baselines: Mapping[str, Interval]
    leads: Mapping[str, Interval]
    beyond_latency: Interval
    regret_pct: Mapping[int, float]
    bias: Mapping[str, Bias]
    separable: Separation
    verdict: Verdict
    sentence: str


def certify(tested: Tested) -> Findings:
    """The findings. Nothing is drawn at random: equal numbers give equal findings."""
    truth_NS, truth_N = np.array(tested.truth_NS), tested.mean_truth
    proxy_NN = agreement(tested.proxy_N, truth_N)
    others = {name: agreement(values_N, truth_N) for name, values_N in tested.baselines.items()}
    tau, baselines = tau_interval(proxy_NN), {name: tau_interval(one_NN) for name, one_NN in others.items()}
    leads = {name: difference_interval(proxy_NN, _rising(one_NN)) for name, one_NN in others.items()}
    seed_tau, separable = tau_interval(_agreement_of_seeds(truth_NS)), separation(truth_NS)
    ceiling = seed_tau.mapped(lambda one: ceiling_of(one, truth_NS.shape[1]))
    verdict, sentence = _judged(tau, ceiling.value, baselines, leads, separable, truth_NS.shape)
    return Findings(
        networks=len(truth_N),
        truth_seeds=truth_NS.shape[1],
        tau=tau,
        seed_tau=seed_tau,
        ceiling=ceiling,
        baselines=baselines,
        leads=leads,
        beyond_latency=_beyond_latency(tested),
        regret_pct={best: regret_pct(tested, best, separable.reliability) for best in BEST_OF},
        bias=biases(np.array(tested.proxy_N), truth_NS, tested.axes),
        separable=separable,
        verdict=verdict,
        sentence=sentence,
    )


def regret_pct(tested: Tested, best: int, reliability: float) -> float:
    """Points by which the best of all networks is better than the best among the proxy's `best` best.

    The maximum of noisy scores is too high, that of many more than that of few. So all mean scores move towards
    their mean as far as noise alone explains how they differ (empirical Bayes). Of equal proxy scores the faster
    network comes first.

    Args:
        reliability: of the mean scores, 0 to 1, as `separation` has it.
    """
    truth_N, latency_N = tested.mean_truth, np.array(tested.latency_ms_N)
    few = np.lexsort((latency_N, -np.array(tested.proxy_N)))[:best]
    return reliability * float(truth_N.max() - truth_N[few].max())


def _agreement_of_seeds(truth_NS: np.ndarray) -> np.ndarray:
    """Of one seed with another: the mean over all pairs of seeds."""
    pairs = zip(*np.triu_indices(truth_NS.shape[1], k=1), strict=True)
    mean_NN: np.ndarray = np.mean([agreement(truth_NS[:, a], truth_NS[:, b]) for a, b in pairs], axis=0)
    return mean_NN


def _beyond_latency(tested: Tested) -> Interval:
    log_N = np.log(tested.latency_ms_N)
    return tau_interval(
        agreement(*(_unexplained(np.asarray(y_N, float), log_N) for y_N in (tested.proxy_N, tested.mean_truth)))
    )


def _unexplained(y_N: np.ndarray, x_N: np.ndarray) -> np.ndarray:
    """The residuals of y after a straight line in x, or of its mean where all x are equal."""
    x_N, y_N = x_N - x_N.mean(), y_N - y_N.mean()
    squares = float(x_N @ x_N)
    return rounded(y_N - x_N * float(x_N @ y_N) / squares if squares > _ROUNDING else y_N)


def _rising(agreement_NN: np.ndarray) -> np.ndarray:
    """Of a baseline that may order networks from its high end or from its low end, whichever fits better."""
    return agreement_NN if agreement_NN.sum() >= 0 else -agreement_NN


def _judged(
    tau: Interval,
    ceiling: float,
    baselines: Mapping[str, Interval],
    leads: Mapping[str, Interval],
    separable: Separation,
    shape: tuple[int, ...],
) -> tuple[Verdict, str]:
    (networks, seeds), stated = shape, f"tau {tau.value:.2f} ({tau.low:.2f} to {tau.high:.2f}"
    stated = f"{stated}; a perfect proxy would have {ceiling:.2f})"
    if not separable.holds:
        return "useless", (
            f"Architectures are not separable on these data with {networks} networks and {seeds} seeds each: take "
            "the fastest, or add seeds."
        )
    if tau.low <= 0:
        return "useless", f"No evidence that the proxy's order is better than chance: {stated}."
    if tied := [name for name, lead in leads.items() if lead.low <= 0]:
        best = min(tied, key=lambda name: leads[name].value)
        end = "small" if baselines[best].value < 0 else "large"
        size = f"{abs(baselines[best].value):.2f}"
        return "coarse", f"No evidence that the proxy orders better than {end} {best} does (tau {size}): {stated}."
    if tau.low < RANKS_FROM:
        return "coarse", f"The proxy tells good networks from bad ones, not close ones from each other: {stated}."
    return "ranks", f"The proxy orders these networks as the truth does, better than every baseline: {stated}."
