"""Whether architectures differ by more than the seeds of their trainings do, and what that leaves to a proxy."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import fdtrc  # scipy.stats, which has the same, takes half a second to import

SEPARABLE_P = 0.05  # p-value up to which architectures are taken to differ
_ROUNDING = 1e-18  # variance, in points squared


@dataclass(frozen=True, kw_only=True, slots=True)
class Separation:
    """Of scores with several seeds each, without what a seed does to all architectures alike.

    Attributes:
        p_value: of the one-way F test that all architectures are equal.
        architectures_pct: standard deviation of the architectures in points, without the noise of seeds.
        seeds_pct: of one seed of one architecture.
        reliability: share of the variance of the mean scores that is not noise, 0 to 1.
    """

    p_value: float
    architectures_pct: float
    seeds_pct: float
    reliability: float

    @property
    def holds(self) -> bool:
        return self.p_value <= SEPARABLE_P


def separation(truth_NS: np.ndarray) -> Separation:
    """Of scores in percent by architecture and seed, from accuracy = architecture + seed + noise."""
    (n, seeds), mean_N1 = truth_NS.shape, truth_NS.mean(axis=1, keepdims=True)
    rest_NS = truth_NS - mean_N1 - truth_NS.mean(axis=0) + truth_NS.mean()
    freedom = (n - 1, (n - 1) * (seeds - 1))
    between, noise = seeds * float(mean_N1.var(ddof=1)), float((rest_NS**2).sum()) / freedom[1]
    varies = between > _ROUNDING
    return Separation(
        p_value=float(fdtrc(*freedom, between / max(noise, _ROUNDING))) if varies else 1.0,
        architectures_pct=math.sqrt(max(between - noise, 0.0) / seeds),
        seeds_pct=math.sqrt(noise),
        reliability=max(1 - noise / between, 0.0) if varies else 0.0,
    )


def ceiling_of(seed_tau: float, seeds: int) -> float:
    """The tau of a perfect proxy with the mean of `seeds` seeds, where one seed has `seed_tau` with another.

    With normal scores the correlation of two seeds is sin(pi tau / 2) (Greiner 1909); the mean of several is
    reliable by the formula of Spearman and Brown (1910), and correlates with the noiseless scores by its root.

    >>> round(ceiling_of(0.364, 3), 2)
    0.69
    """
    correlation = math.sin(math.pi / 2 * max(seed_tau, 0.0))
    reliability = seeds * correlation / (1 + (seeds - 1) * correlation)
    return 2 / math.pi * math.asin(math.sqrt(reliability))
