"""Accuracies of the same trainings with the same seeds, compared: how large a difference is and how sure.

Two things move an accuracy: the seed of the training, and the choice of the images that it is tested on. Seeds
are common to all that is compared, so what a seed does to all of them alike cancels out; what is left is
estimated from all of them together, as three seeds of one pair alone say little.

That takes two things for granted: that the spread is the same for all, and that a network's seeds are independent.
Where the scores contradict it the interval is wider: where the pair itself spreads more than all together do, and,
from `_HALVES` seeds on, where means of neighbouring seeds spread more than independent ones would. What a network
gains or loses in all of its trainings alike, for instance by the choice of training images, cannot be seen in any
number of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from scipy.special import fdtrc, stdtrit  # scipy.stats, which has the same, takes a second to import

ERROR_RATE = 0.05  # of an interval, or of all that are compared together
MANY_SEEDS = 10  # from here on the bootstrap; see docs/decisions.md
_HALVES = 4  # seeds from which on two halves may tell that neighbours are alike
_CONTRADICTION = 0.1  # chance of a ratio of spreads below which it is taken to contradict independent seeds
_RESAMPLES = 5_000
_ROUNDING = 1e-9  # percent


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Mean of paired differences in accuracy points and its 95 % interval, which has the estimate in it.

    Never narrower than the choice of test images alone makes it; unbounded where there is only one pair.

    Attributes:
        compared: so many differences have their true value in their intervals together in 95 % of cases, so
            that it still holds for one that was chosen by the same scores.
        choice: how much too high the mean is on average, as the first of the two was chosen by the same scores.
    """

    mean: float
    low: float
    high: float
    pairs: int
    compared: int = 1
    choice: float = 0.0

    @property
    def estimate(self) -> float:
        """The mean, corrected for the choice."""
        return self.mean - self.choice

    def corrected(self, choice: float) -> Self:
        """The same with an estimate that is lower by `choice` than the mean."""
        return replace(self, choice=choice, low=min(self.low, self.mean - choice))

    @property
    def distinguishable(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


def paired_difference(
    first: dict[int, float],
    second: dict[int, float],
    *,
    images: int,
    others: Sequence[dict[int, float]] = (),
    compared: int = 1,
) -> Difference:
    """Of `first` over `second`, seed by seed; accuracies in percent by seed.

    Student's t, with the spread of all that was trained with these seeds, or the pair's where that is larger; from
    `MANY_SEEDS` pairs on the studentised bootstrap (with a fixed seed), which takes no form and no common spread
    for granted. Wider where seeds are seen to depend on their neighbours.

    Args:
        images: how many all were tested on, the same for all.
        others: what else was trained with these seeds.
        compared: how many such differences are looked at, one of which this is (Bonferroni).
    """
    seeds = sorted(first.keys() & second.keys())
    differences = np.array([first[seed] - second[seed] for seed in seeds])
    n, low, high = len(differences), -math.inf, math.inf
    means = [float(np.mean(list(scores.values()))) for scores in (first, second)]
    mean = float(differences.mean()) if n else means[0] - means[1]
    if n > 1:
        rate, table = ERROR_RATE / compared, [first, second, *others]
        spread, freedom = seed_spread(table)
        spreads = [_halves_spread(table, seeds)]
        if n >= MANY_SEEDS:
            low, high = _bootstrap(differences, rate)
        else:
            low, high = mean, mean
            spreads += [spread, seed_spread([first, second])[0]]
        by_seeds = float(stdtrit(freedom, 1 - rate / 2)) * max(spreads) * math.sqrt(2 / n)
        half = max(by_seeds, math.hypot(*(sampling_error_pct(m, images) for m in means)))
        low, high = min(low, mean - half), max(high, mean + half)
    return Difference(mean=mean, low=low, high=high, pairs=n, compared=compared)


def levels_pct(scores: Sequence[dict[int, float]]) -> list[float]:
    """The mean accuracy of each as if all had been trained with all of the seeds.

    By least squares of accuracy = architecture + seed: one that is low for all costs those nothing that have it.
    Where no chain of common seeds links two, nothing tells their seeds apart and each has the mean of its own.
    """
    if not any(scores):
        return [math.nan] * len(scores)
    fit = _AdditiveFit.of(scores)
    return [float(fit.subjects[i] + fit.seeds[_linked(scores, one)].mean()) for i, one in enumerate(scores)]


def _linked(scores: Sequence[dict[int, float]], one: dict[int, float]) -> list[int]:
    """The places, among all seeds in order, of those that common seeds link to those of `one`."""
    linked = set(one)
    while more := {seed for other in scores if other.keys() & linked for seed in other} - linked:
        linked |= more
    return [i for i, seed in enumerate(sorted({seed for other in scores for seed in other})) if seed in linked]


def seed_spread(scores: Sequence[dict[int, float]]) -> tuple[float, int]:
    """What a seed does to one architecture and not to all alike: standard deviation in points, degrees of freedom.

    Residuals of accuracy = architecture + seed by least squares; (0, 0) where nothing is trained twice.
    """
    if not any(scores):
        return 0.0, 0
    fit = _AdditiveFit.of(scores)
    squares = float(fit.residuals @ fit.residuals)
    return (math.sqrt(squares / fit.freedom), fit.freedom) if fit.freedom else (0.0, 0)


@dataclass(frozen=True, slots=True)
class _AdditiveFit:
    """Accuracy = architecture + seed by least squares: effects of each, residuals and their degrees of freedom."""

    subjects: np.ndarray
    seeds: np.ndarray
    residuals: np.ndarray
    freedom: int

    @classmethod
    def of(cls, scores: Sequence[dict[int, float]]) -> "_AdditiveFit":
        rows = [(i, seed, pct) for i, one in enumerate(scores) for seed, pct in one.items()]
        subject, seed, accuracy = (np.array(column) for column in zip(*rows, strict=True))
        subjects = subject[:, None] == np.arange(len(scores))
        design = np.hstack([subjects, seed[:, None] == np.unique(seed)]).astype(float)
        solution, _, rank, _ = np.linalg.lstsq(design, accuracy, rcond=None)
        effects, shifts = np.split(solution, [len(scores)])
        return cls(effects, shifts, accuracy - design @ solution, len(rows) - int(rank))


def sampling_error_pct(accuracy_pct: float, images: int) -> float:
    """Half the 95 % interval that the choice of `images` test images alone gives an accuracy."""
    share = accuracy_pct / 100
    return 196 * math.sqrt(share * (1 - share) / images)


def _halves_spread(scores: Sequence[dict[int, float]], seeds: Sequence[int]) -> float:
    """The spread of one seed by the means of the first and of the last half of them, where they contradict it.

    It is larger where neighbouring seeds are alike. 0 where it is no larger than by chance, or seeds are few.
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
    """The studentised bootstrap's interval of the mean, which leaves out the true one at `rate`."""
    n, mean, spread = len(differences), float(differences.mean()), float(differences.std(ddof=1))
    if np.ptp(differences) < _ROUNDING:
        return mean, mean
    drawn = differences[np.random.default_rng(0).integers(n, size=(_RESAMPLES, n))]
    deviations = drawn.std(axis=1, ddof=1)
    some = deviations > _ROUNDING
    ratios = (drawn[some].mean(axis=1) - mean) / deviations[some]
    high, low = np.quantile(ratios, [rate / 2, 1 - rate / 2])
    return mean - float(low) * spread, mean - float(high) * spread
