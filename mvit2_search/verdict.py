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
from mvit2_search.records import Failed, Finished, Latency, Prediction, Score, Trial

FINALISTS = 2
_WIDTH_NAMES = [published_name(width) for width in PUBLISHED_WIDTHS]


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What an architecture must stay within."""

    latency_ms: float
    max_params: int | None

    def allow(self, latency: Latency, params: int) -> bool:
        """Whether a network of this latency and so many parameters is within."""
        return latency.latency_ms <= self.latency_ms and (self.max_params is None or params <= self.max_params)

    def allow_trial(self, trial: Trial) -> bool:
        """Whether a trial was timed and is within."""
        return trial.latency is not None and self.allow(trial.latency, trial.params)


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Mean of paired differences in accuracy points and its 95 % interval.

    Student's t over the seeds, but never narrower than the choice of test images alone makes it.
    Unbounded where there is only one pair.
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
        return self._latency.latency_ms

    @property
    def latency_text(self) -> str:
        """`12.30 ms`, `12.30 ms (predicted)`, `12.30 ms (unsettled)`."""
        marks = ("predicted",) if isinstance(self._latency, Prediction) else self._latency.flags
        return f"{self.latency_ms:.2f} ms" + (f" ({', '.join(marks)})" if marks else "")

    @property
    def is_predicted(self) -> bool:
        return isinstance(self._latency, Prediction)

    @property
    def _latency(self) -> Latency:
        assert self.trial.latency is not None  # only finished trials are confirmed
        return self.trial.latency


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The outcome of a confirmed study, within the limits.

    Attributes:
        best: the highest confirmed accuracy of all, published widths included.
        searched: the highest of the candidates, if one was confirmed.
        published: the largest published width that was confirmed, if there is one.
        gain: of `searched` over `published`, where there are both.
        pick: what to export: the fastest of all whose accuracy cannot be told from the best.
    """

    best: Confirmed
    searched: Confirmed | None
    published: Confirmed | None
    gain: Difference | None
    pick: Confirmed


def paired_difference(first: dict[int, float], second: dict[int, float], *, images: int) -> Difference:
    """Of `first` over `second`, seed by seed; both were tested on the same `images` images."""
    differences = np.array([first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())])
    n, half = len(differences), math.inf
    means = [float(np.mean(list(scores.values()))) for scores in (first, second)]
    mean = float(differences.mean()) if n else means[0] - means[1]
    if n > 1:
        seeds = student_t.ppf(0.975, n - 1) * differences.std(ddof=1) / math.sqrt(n)
        half = max(float(seeds), math.hypot(*(sampling_error_pct(m, images) for m in means)))
    return Difference(mean=mean, low=mean - half, high=mean + half, pairs=n)


def sampling_error_pct(accuracy_pct: float, images: int) -> float:
    """Half the 95 % interval that the choice of `images` test images alone gives an accuracy."""
    share = accuracy_pct / 100
    return 196 * math.sqrt(share * (1 - share) / images)


def front(trials: Sequence[Trial], limits: Limits) -> list[Trial]:
    """The finished trials within the limits that no other of them dominates."""
    finished = [t for t in trials if isinstance(t.outcome, Finished) and limits.allow_trial(t)]
    outcomes = [t.outcome for t in finished if isinstance(t.outcome, Finished)]
    mask = front_mask([o.accuracy_pct for o in outcomes], [o.latency.latency_ms for o in outcomes])
    return [trial for trial, on_front in zip(finished, mask, strict=True) if on_front]


def finalists(trials: Sequence[Trial], outside: Sequence[Trial], limits: Limits) -> list[Trial]:
    """What to confirm: the most accurate candidates of the front, and the widths around the budget."""
    candidates = front([t for t in trials if t.is_trained_candidate], limits)
    candidates.sort(key=_accuracy, reverse=True)
    return candidates[:FINALISTS] + bracket([*trials, *outside], limits)


def bracket(trials: Sequence[Trial], limits: Limits) -> list[Trial]:
    """The largest published width within the limits and the smallest beyond, as far as trained."""
    trained = {t.baseline: t for t in trials if t.baseline and isinstance(t.outcome, Finished)}
    widths = [trained[name] for name in _WIDTH_NAMES if name in trained]
    within = [t for t in widths if limits.allow_trial(t)]
    beyond = [t for t in widths if not limits.allow_trial(t)]
    return within[-1:] + beyond[:1]


def judge(
    trials: Sequence[Trial], outside: Sequence[Trial], scores: Sequence[Score], limits: Limits, *, images: int
) -> Verdict | None:
    """The verdict, or None where nothing within the limits has been confirmed.

    Args:
        images: how many the scores were tested on.
    """
    confirmed = [c for c in confirmations([*trials, *outside], scores) if limits.allow_trial(c.trial)]
    if not confirmed:
        return None

    def difference(first: Confirmed, second: Confirmed) -> Difference:
        return paired_difference(first.accuracy_pct, second.accuracy_pct, images=images)

    def is_even(one: Confirmed) -> bool:
        gap = difference(best, one)
        return gap.pairs > 1 and not gap.distinguishable

    best = max(confirmed, key=lambda c: c.mean_pct)
    candidates = [c for c in confirmed if c.trial.baseline is None]
    widths = [c for c in confirmed if c.trial.baseline is not None]
    searched = max(candidates, key=lambda c: c.mean_pct, default=None)
    published = max(widths, key=lambda c: c.latency_ms, default=None)
    return Verdict(
        best=best,
        searched=searched,
        published=published,
        gain=difference(searched, published) if searched and published else None,
        pick=min([best, *filter(is_even, confirmed)], key=lambda c: c.latency_ms),
    )


def confirmations(trials: Sequence[Trial], scores: Sequence[Score]) -> list[Confirmed]:
    """The trials that have confirmed scores, in order of number."""
    found: dict[str, dict[int, float]] = {}
    for score in scores:
        if not isinstance(score.result, Failed):
            found.setdefault(score.subject, {})[score.seed] = score.result
    finished = [t for t in trials if isinstance(t.outcome, Finished) and t.repeats is None]
    once = {t.arch.key: t for t in sorted(finished, key=lambda t: t.baseline is not None)}  # baselines win
    confirmed = [Confirmed(trial=once[key], accuracy_pct=found[key]) for key in found.keys() & once.keys()]
    return sorted(confirmed, key=lambda c: (c.trial.number, c.trial.baseline or ""))


def _accuracy(trial: Trial) -> float:
    assert isinstance(trial.outcome, Finished)
    return trial.outcome.accuracy_pct
