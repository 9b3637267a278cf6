"""Accuracies of the same trainings with the same seeds, compared: how large a difference is and how sure.

Two things move an accuracy: the seed of the training, and the choice of the images that it is tested on. Seeds
are common to all that is compared, so what a seed does to all of them alike cancels out; what is left is
estimated from all of them together, as three seeds of one pair alone say little.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.special import stdtrit  # scipy.stats, which has the same, takes a second to import

ERROR_RATE = 0.05  # of an interval, or of all that are compared together
MANY_SEEDS = 10  # from here on the bootstrap; see docs/decisions.md
_RESAMPLES = 5_000
_ROUNDING = 1e-9  # percent


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Mean of paired differences in accuracy points and its 95 % interval.

    Never narrower than the choice of test images alone makes it; unbounded where there is only one pair.

    Attributes:
        compared: so many differences have their true value in their intervals together in 95 % of cases, so
            that it still holds for one that was chosen by the same scores.
    """

    mean: float
    low: float
    high: float
    pairs: int
    compared: int = 1

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

    Student's t, with the spread of all that was trained with these seeds; from `MANY_SEEDS` pairs on the
    studentised bootstrap (with a fixed seed), which takes no form and no common spread for granted.

    Args:
        images: how many all were tested on, the same for all.
        others: what else was trained with these seeds.
        compared: how many such differences are looked at, one of which this is (Bonferroni).
    """
    differences = np.array([first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())])
    n, low, high = len(differences), -math.inf, math.inf
    means = [float(np.mean(list(scores.values()))) for scores in (first, second)]
    mean = float(differences.mean()) if n else means[0] - means[1]
    if n > 1:
        rate = ERROR_RATE / compared
        by_seeds = _bootstrap if n >= MANY_SEEDS else partial(_student, scores=[first, second, *others])
        low, high = by_seeds(differences, rate)
        floor = math.hypot(*(sampling_error_pct(m, images) for m in means))
        low, high = min(low, mean - floor), max(high, mean + floor)
    return Difference(mean=mean, low=low, high=high, pairs=n, compared=compared)


def levels_pct(scores: Sequence[dict[int, float]]) -> list[float]:
    """The mean accuracy of each as if all had been trained with all of the seeds.

    By least squares of accuracy = architecture + seed: one that is low for all costs those nothing that have it.
    """
    if not any(scores):
        return [math.nan] * len(scores)
    fit = _AdditiveFit.of(scores)
    return [float(fit.subjects[i] + fit.seeds.mean()) for i in range(len(scores))]


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


def _student(differences: np.ndarray, rate: float, *, scores: Sequence[dict[int, float]]) -> tuple[float, float]:
    """Student's interval of the mean, with the spread of all `scores`."""
    spread, freedom = seed_spread(scores)
    half = float(stdtrit(freedom, 1 - rate / 2)) * spread * math.sqrt(2 / len(differences))
    return float(differences.mean()) - half, float(differences.mean()) + half


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
