"""What a study found: the best architecture under the budget and whether it beats the width knob.

Everything rests on the confirmation: trainings with seeds that the search did not use, scored on images
that it never saw, compared seed by seed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student_t

from mvit2_search.arch import PUBLISHED_WIDTHS, published_name
from mvit2_search.pareto import front_mask
from mvit2_search.records import Failed, Finished, Measurement, Score, Trial

FINALISTS = 2
_WIDTH_NAMES = [published_name(width) for width in PUBLISHED_WIDTHS]


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What an architecture must stay within."""

    latency_ms: float
    max_params: int | None

    def allow(self, measurement: Measurement, params: int) -> bool:
        """Whether a network of this latency and so many parameters is within."""
        return measurement.latency_ms <= self.latency_ms and (self.max_params is None or params <= self.max_params)

    def allow_trial(self, trial: Trial) -> bool:
        """Whether a trial was timed and is within."""
        return trial.measurement is not None and self.allow(trial.measurement, trial.params)


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Mean of paired differences in accuracy points and its 95 % interval (Student's t).

    The interval is unbounded where there is only one pair.
    """

    mean: float
    low: float
    high: float
    pairs: int

    @property
    def distinguishable(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Confirmed:
    """An architecture and its accuracy for each fresh seed."""

    trial: Trial
    accuracy_pct: dict[int, float]

    @property
    def mean_pct(self) -> float:
        return float(np.mean(list(self.accuracy_pct.values())))

    @property
    def latency_ms(self) -> float:
        assert self.trial.measurement is not None  # only finished trials are confirmed
        return self.trial.measurement.latency_ms


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The outcome of a confirmed study.

    Attributes:
        best: the candidate with the highest confirmed accuracy under the budget.
        pick: what to export: the fastest under the budget, published widths included, whose accuracy
            cannot be told from the highest.
        published: the largest published width under the budget, if there is one.
        gain: of `best` over `published`.
    """

    best: Confirmed
    pick: Confirmed
    published: Confirmed | None
    gain: Difference | None


def paired_difference(first: dict[int, float], second: dict[int, float]) -> Difference:
    """Of `first` over `second`, seed by seed; unbounded where they share fewer than two seeds."""
    differences = np.array([first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())])
    n, half = len(differences), math.inf
    mean = differences.mean() if n else np.mean(list(first.values())) - np.mean(list(second.values()))
    if n > 1:
        half = student_t.ppf(0.975, n - 1) * differences.std(ddof=1) / math.sqrt(n)
    return Difference(mean=float(mean), low=float(mean - half), high=float(mean + half), pairs=n)


def front(trials: Sequence[Trial], limits: Limits) -> list[Trial]:
    """The finished trials within the limits that no other of them dominates, repeats left out."""
    finished = [
        t for t in trials if isinstance(t.outcome, Finished) and limits.allow_trial(t) and t.repeats is None
    ]
    outcomes = [t.outcome for t in finished if isinstance(t.outcome, Finished)]
    mask = front_mask([o.accuracy_pct for o in outcomes], [o.measurement.latency_ms for o in outcomes])
    return [trial for trial, on_front in zip(finished, mask, strict=True) if on_front]


def finalists(trials: Sequence[Trial], outside: Sequence[Trial], limits: Limits) -> list[Trial]:
    """What to confirm: the most accurate candidates of the front, and the widths around the budget."""
    candidates = front([t for t in trials if t.baseline is None], limits)
    candidates.sort(key=_accuracy, reverse=True)
    return candidates[:FINALISTS] + bracket([*trials, *outside], limits)


def bracket(trials: Sequence[Trial], limits: Limits) -> list[Trial]:
    """The largest published width within the limits and the smallest beyond, as far as trained."""
    trained = {
        t.baseline: t for t in trials if t.baseline and t.repeats is None and isinstance(t.outcome, Finished)
    }
    widths = [trained[name] for name in _WIDTH_NAMES if name in trained]
    within = [t for t in widths if limits.allow_trial(t)]
    beyond = [t for t in widths if not limits.allow_trial(t)]
    return within[-1:] + beyond[:1]


def judge(
    trials: Sequence[Trial], outside: Sequence[Trial], scores: Sequence[Score], limits: Limits
) -> Verdict | None:
    """The verdict, or None where no candidate under the budget has been confirmed."""
    confirmed = [c for c in confirmations([*trials, *outside], scores) if limits.allow_trial(c.trial)]
    searched = [c for c in confirmed if c.trial.baseline is None]
    if not searched:
        return None
    best = max(searched, key=lambda c: c.mean_pct)
    top = max(confirmed, key=lambda c: c.mean_pct)
    even = [c for c in confirmed if c is top or not _difference(c, top).distinguishable]
    widths = [c for c in confirmed if c.trial.baseline is not None]
    published = max(widths, key=lambda c: c.latency_ms, default=None)
    return Verdict(
        best=best,
        pick=min(even, key=lambda c: c.latency_ms),
        published=published,
        gain=_difference(best, published) if published else None,
    )


def confirmations(trials: Sequence[Trial], scores: Sequence[Score]) -> list[Confirmed]:
    """The trials that have confirmed scores, in order of number."""
    found: dict[str, dict[int, float]] = {}
    for score in scores:
        if not isinstance(score.result, Failed):
            found.setdefault(score.subject, {})[score.seed] = score.result
    once = {t.arch.key: t for t in reversed(trials) if isinstance(t.outcome, Finished) and t.repeats is None}
    confirmed = [Confirmed(trial=once[key], accuracy_pct=found[key]) for key in found.keys() & once.keys()]
    return sorted(confirmed, key=lambda c: (c.trial.number, c.trial.baseline or ""))


def _difference(first: Confirmed, second: Confirmed) -> Difference:
    return paired_difference(first.accuracy_pct, second.accuracy_pct)


def _accuracy(trial: Trial) -> float:
    assert isinstance(trial.outcome, Finished)
    return trial.outcome.accuracy_pct
