"""Paired differences of accuracies with confidence intervals, from trainings with the same seeds.

Two things move an accuracy: the training's seed and the choice of test images. A seed's effect on all networks
alike cancels in a paired difference. The rest of the spread is estimated from all networks together, because three
seeds of one pair say little.

This assumes that all networks spread alike and that the seeds of one network are independent. Where the scores
contradict that, the interval is wider: if the pair spreads more than all networks together, or (from `_HALVES`
seeds on) if neighbouring seeds look correlated. An effect on all trainings of one network, for instance of the
choice of training images, is invisible in any number of seeds.

Selection bias (the winner's curse): the best score is partly best by its noise, so it overestimates. By how much
depends on how far apart the true levels are: of two far apart noise hardly ever decides, of two equal ones always.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from scipy.special import fdtrc, ndtr, stdtrit  # scipy.stats, which has the same, takes a second to import

_NOISE_U = np.linspace(-8, 8, 401)  # in standard deviations
_WEIGHT_U = np.exp(-(_NOISE_U**2) / 2) / np.sqrt(2 * np.pi) * (_NOISE_U[1] - _NOISE_U[0])


def selection_bias(levels: Sequence[float], *, error: float, freedom: int, over: int | None = None) -> float:
    """The expected noise of the best of `levels`, in their unit.

    The true levels are unknown and estimated by shrinkage (empirical Bayes, positive part): each of `levels` moves
    towards their mean as far as noise alone explains how they differ, all the way if it explains everything.

    >>> round(selection_bias([80.0, 80.0], error=1.0, freedom=100), 4)  # 1 / sqrt(pi)
    0.5642
    >>> round(selection_bias([80.0, 90.0], error=1.0, freedom=100), 4)
    0.0

    Args:
        error: standard error of one level; 0 if unknown, and then the bias is 0 too.
        freedom: its degrees of freedom.
        over: index of a level that is not the best: gives the bias of the lead over it. That this one was not
            chosen is partly noise too.
    """
    if len(levels) < 2 or error <= 0:
        return 0.0
    deviation_K = (np.asarray(levels) - np.mean(levels)) / error
    variance = float(deviation_K @ deviation_K) / (len(levels) - 1)
    noise_variance = freedom / (freedom - 2) if freedom > 2 else np.inf  # expected if all true levels are equal
    kept = 1 - noise_variance / variance if variance > noise_variance else 0.0
    noise, chance_K = _noise_of_best(kept * deviation_K)
    return error * noise / (1 if over is None else 1 - chance_K[over])  # the noise of `over` is 0 on average


def _noise_of_best(true_K: np.ndarray) -> tuple[float, np.ndarray]:
    """Of levels plus standard normal noise: the expected noise of the highest, and each one's chance to be it."""
    lead_KK = true_K[:, None] - true_K
    beaten_KKU = ndtr(lead_KK[:, :, None] + _NOISE_U)
    beaten_KKU[np.diag_indices(len(true_K))] = 1.0
    highest_KU = beaten_KKU.prod(axis=1) * _WEIGHT_U
    return float((highest_KU @ _NOISE_U).sum()), highest_KU.sum(axis=1)


ERROR_RATE = 0.05  # of an interval, or of all simultaneous intervals together
MANY_SEEDS = 10  # from here on the bootstrap; see docs/decisions.md
_HALVES = 4  # seeds from which on the means of two halves can show that neighbours are correlated
_CONTRADICTION = 0.1  # p-value of a variance ratio below which seeds are taken to be correlated
_RESAMPLES = 5_000
_ROUNDING = 1e-9  # percent


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Mean paired difference in accuracy points with its 95 % confidence interval, which includes the estimate.

    Never narrower than the choice of test images alone makes it; unbounded if there is only one pair.

    Attributes:
        compared: number of simultaneous intervals (Bonferroni): in 95 % of cases all of them hold, hence also that
            of a network chosen by the same scores.
        bias: selection bias of the mean, if the first of the two was chosen by the same scores.
    """

    mean: float
    low: float
    high: float
    pairs: int
    compared: int = 1
    bias: float = 0.0

    @property
    def estimate(self) -> float:
        """The mean without its selection bias."""
        return self.mean - self.bias

    def corrected(self, bias: float) -> Self:
        """With this selection bias."""
        return replace(self, bias=bias, low=min(self.low, self.mean - bias))

    @property
    def distinguishable(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


def paired_difference(
    first: dict[int, float],
    second: dict[int, float],
    *,
    images: int,
    others: Sequence[dict[int, float]] = (),
    compared: int = 1,
) -> Difference:
    """`first` minus `second`, seed by seed; accuracies in percent by seed.

    Student's t with the pooled spread of all networks, or the pair's own if larger. From `MANY_SEEDS` pairs on,
    the studentised bootstrap (with a fixed seed), which assumes neither a normal distribution nor a common spread.
    Both are wider if neighbouring seeds are correlated.

    Args:
        images: size of the test set, the same for all.
        others: further networks trained with these seeds.
        compared: number of simultaneous intervals (Bonferroni).
    """
    seeds = sorted(first.keys() & second.keys())
    differences = np.array([first[seed] - second[seed] for seed in seeds])
    n, low, high = len(differences), -math.inf, math.inf
    means = [float(np.mean(list(scores.values()))) for scores in (first, second)]
    mean = float(differences.mean()) if n else means[0] - means[1]
    if n > 1:
        rate, table = ERROR_RATE / compared, [first, second, *others]
        spread, freedom = seed_spread(table)
        spreads = [_spread_of_halves(table, seeds)]
        if n >= MANY_SEEDS:
            low, high = _bootstrap(differences, rate)
        else:
            low, high = mean, mean
            spreads += [spread, seed_spread([first, second])[0]]
        by_seeds = float(stdtrit(freedom, 1 - rate / 2)) * max(spreads) * math.sqrt(2 / n)
        half = max(by_seeds, math.hypot(*(sampling_error_pct(m, images) for m in means)))
        low, high = min(low, mean - half), max(high, mean + half)
    return Difference(mean=mean, low=low, high=high, pairs=n, compared=compared)


def adjusted_means_pct(scores: Sequence[dict[int, float]]) -> list[float]:
    """Least-squares means: the mean accuracy of each network as if all had been trained with all seeds.

    So a seed that is poor for all does not count against the networks that were trained with it. Networks without
    a chain of common seeds between them cannot be adjusted to each other.
    """
    if not any(scores):
        return [math.nan] * len(scores)
    fit = _AdditiveFit(scores)
    return [float(fit.networks[i] + fit.seeds[_linked(scores, one)].mean()) for i, one in enumerate(scores)]


def _linked(scores: Sequence[dict[int, float]], one: dict[int, float]) -> list[int]:
    """Indices, among all seeds in order, of the seeds that a chain of networks links to those of `one`."""
    linked = set(one)
    while more := {seed for other in scores if other.keys() & linked for seed in other} - linked:
        linked |= more
    return [i for i, seed in enumerate(sorted({seed for other in scores for seed in other})) if seed in linked]


def seed_spread(scores: Sequence[dict[int, float]]) -> tuple[float, int]:
    """Standard deviation in points of what a seed does to one network and not to all alike; degrees of freedom.

    From the residuals of accuracy = architecture + seed; (0, 0) if nothing is trained twice.
    """
    if not any(scores):
        return 0.0, 0
    fit = _AdditiveFit(scores)
    squares = float(fit.residuals @ fit.residuals)
    return (math.sqrt(squares / fit.freedom), fit.freedom) if fit.freedom else (0.0, 0)


class _AdditiveFit:
    """Accuracy = architecture + seed by least squares: effects, residuals and their degrees of freedom."""

    def __init__(self, scores: Sequence[dict[int, float]]) -> None:
        rows = [(i, seed, pct) for i, one in enumerate(scores) for seed, pct in one.items()]
        network, seed, accuracy = (np.array(column) for column in zip(*rows, strict=True))
        networks = network[:, None] == np.arange(len(scores))
        design = np.hstack([networks, seed[:, None] == np.unique(seed)]).astype(float)
        solution, _, rank, _ = np.linalg.lstsq(design, accuracy, rcond=None)
        self.networks, self.seeds = np.split(solution, [len(scores)])
        self.residuals, self.freedom = accuracy - design @ solution, len(rows) - int(rank)


def sampling_error_pct(accuracy_pct: float, images: int) -> float:
    """Half the 95 % interval of an accuracy from the choice of `images` test images alone."""
    share = accuracy_pct / 100
    return 196 * math.sqrt(share * (1 - share) / images)


def _spread_of_halves(scores: Sequence[dict[int, float]], seeds: Sequence[int]) -> float:
    """The spread of one seed, estimated by the means over the first and the last half of the seeds.

    It is larger than `seed_spread` if neighbouring seeds are correlated. 0 if an F test does not show that, or
    seeds are few.
    """
    size, whole = len(seeds) // 2, [one for one in scores if one.keys() >= set(seeds)]
    if len(seeds) < _HALVES:
        return 0.0
    halves = [seeds[:size], seeds[-size:]]
    means = [{i: float(np.mean([one[s] for s in half])) for i, half in enumerate(halves)} for one in whole]
    single, freedom = seed_spread([{s: one[s] for s in seeds} for one in whole])
    spread, few = seed_spread(means)
    spread *= math.sqrt(size)
    rest = max(freedom * single**2 - few * spread**2, _ROUNDING)
    chance = float(fdtrc(few, freedom - few, spread**2 * (freedom - few) / rest))
    return spread if chance < _CONTRADICTION else 0.0


def _bootstrap(differences: np.ndarray, rate: float) -> tuple[float, float]:
    """The studentised bootstrap interval of the mean with error rate `rate`."""
    n, mean, spread = len(differences), float(differences.mean()), float(differences.std(ddof=1))
    if np.ptp(differences) < _ROUNDING:
        return mean, mean
    drawn = differences[np.random.default_rng(0).integers(n, size=(_RESAMPLES, n))]
    deviations = drawn.std(axis=1, ddof=1)
    some = deviations > _ROUNDING
    ratios = (drawn[some].mean(axis=1) - mean) / deviations[some]
    high, low = np.quantile(ratios, [rate / 2, 1 - rate / 2])
    return mean - float(low) * spread, mean - float(high) * spread
