"""The confirmation: which networks are trained again with fresh seeds, their scores, and which still compete.

They are scored on images that the search never used.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from mvit2_search.analysis.paired import (
    Difference,
    adjusted_means_pct,
    paired_difference,
    sampling_error_pct,
    seed_spread,
    selection_bias,
)
from mvit2_search.arch import PUBLISHED_WIDTHS, published_name
from mvit2_search.records import (
    ConfirmationPlan,
    Failed,
    Finished,
    Limits,
    Measurement,
    Prediction,
    Score,
    Trial,
    place,
)

MAX_FINALISTS = 4  # with two published widths and three seeds, 18 trainings at most
SEED_SPREAD_PCT = 0.7  # of one network between seeds, while nothing is known: docs/decisions.md
_KNOWN = 3  # degrees of freedom from which on the confirmed scores replace it
_WIDTH_NAMES = [published_name(width) for width in PUBLISHED_WIDTHS]


def choose_finalists(
    trials: Sequence[Trial], limits: Limits, *, images: int, confirmed: Sequence["Confirmed"] = ()
) -> list[Trial]:
    """The candidates within the limits that one seed cannot tell from the most accurate, on the front or not.

    The search trains a candidate with one seed. Another seed or other images would change its accuracy, so the
    front is partly an accident, and a candidate just below it may be better. Returns at most `MAX_FINALISTS`, the
    most accurate first, of equal ones the fastest.

    Args:
        images: number of images that the trials were scored on.
        confirmed: to estimate the spread between seeds from, if there are enough.
    """
    spread, freedom = seed_spread([c.scores for c in confirmed])
    if freedom < _KNOWN:
        spread = SEED_SPREAD_PCT
    found = [
        (t.outcome.score, t.outcome.latency.latency_ms, t)
        for t in trials
        if t.is_trained_candidate and isinstance(t.outcome, Finished) and limits.allow_trial(t)
    ]
    best = sorted(found, key=lambda row: (-row[0], row[1], row[2].number or 0))[:MAX_FINALISTS]
    # the standard error of each, from the seed and the choice of images
    errors = [math.hypot(spread, sampling_error_pct(score, images) / 1.96) for score, *_ in best]
    return [
        trial
        for (score, _, trial), error in zip(best, errors, strict=True)
        if score >= best[0][0] - 1.96 * math.hypot(error, errors[0])
    ]


def bracketing_widths(trials: Sequence[Trial], limits: Limits) -> list[Trial]:
    """The largest published width within the limits and the smallest beyond them, of those trained."""
    trained = {t.published: t for t in trials if t.published and isinstance(t.outcome, Finished)}
    widths = [trained[name] for name in _WIDTH_NAMES if name in trained]
    within = [t for t in widths if limits.allow_trial(t)]
    beyond = [t for t in widths if not limits.allow_trial(t)]
    return within[-1:] + beyond[:1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Confirmed:
    """A network and its accuracy for each fresh seed; `balanced` if the classes are unbalanced."""

    trial: Trial
    scores: dict[int, float]
    balanced: dict[int, float] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return self.trial.arch.key

    def with_seeds(self, seeds: Collection[int]) -> Self:
        return replace(self, scores={seed: pct for seed, pct in self.scores.items() if seed in seeds})

    @property
    def mean_pct(self) -> float:
        return float(np.mean(list(self.scores.values())))

    @property
    def mean_balanced_pct(self) -> float | None:
        return float(np.mean(list(self.balanced.values()))) if self.balanced else None

    @property
    def latency_ms(self) -> float:
        assert self.trial.latency is not None  # only finished trials are confirmed
        return self.trial.latency.latency_ms

    @property
    def latency_text(self) -> str:
        """`12.30 ms`, `12.30 ms (predicted)`, `12.30 ms (unsettled)`."""
        latency = self.trial.latency
        marks = latency.flags if isinstance(latency, Measurement) else ("predicted",)
        return f"{self.latency_ms:.2f} ms" + (f" ({', '.join(marks)})" if marks else "")

    @property
    def is_predicted(self) -> bool:
        return isinstance(self.trial.latency, Prediction)


def confirmations(
    trials: Sequence[Trial], scores: Sequence[Score], finalists: Collection[str] | None = None
) -> list[Confirmed]:
    """The trials that have confirmed scores, in order of number.

    Args:
        finalists: keys of the candidates to compare, None for all; scores of earlier finalists are ignored.
    """
    accuracies: dict[str, dict[int, float]] = {}
    balanced: dict[str, dict[int, float]] = {}
    for score in scores:
        if not isinstance(score.result, Failed):
            accuracies.setdefault(score.subject, {})[score.seed] = score.result
        if score.balanced is not None:
            balanced.setdefault(score.subject, {})[score.seed] = score.balanced
    finished = [t for t in trials if isinstance(t.outcome, Finished) and t.repeats is None]
    finished.sort(key=lambda t: t.published is not None)  # a published width replaces a candidate that equals it
    confirmed = [
        Confirmed(trial=trial, scores=accuracies[key], balanced=balanced.get(key, {}))
        for key, trial in {t.arch.key: t for t in finished}.items()
        if key in accuracies and (finalists is None or trial.published or key in finalists)
    ]
    return sorted(confirmed, key=lambda c: place(c.trial))


class Comparison:
    """Compares networks by their confirmed accuracies on `images` images, seed by seed.

    Args:
        confirmed: all networks with scores; those that are not compared still tell the spread between seeds.
        compared: number of simultaneous intervals.
    """

    def __init__(self, confirmed: Sequence[Confirmed], *, compared: int, images: int) -> None:
        self._scores = {c.key: c.scores for c in confirmed}
        self._means = dict(zip(self._scores, adjusted_means_pct([*self._scores.values()]), strict=True))
        self._compared, self._images = max(compared, 1), images

    def mean(self, one: Confirmed) -> float:
        """Mean accuracy as if all had been trained with all seeds; see `adjusted_means_pct`."""
        return self._means[one.key]

    def difference(self, first: Confirmed, second: Confirmed) -> Difference:
        return paired_difference(
            first.scores,
            second.scores,
            images=self._images,
            others=[scores for key, scores in self._scores.items() if key not in (first.key, second.key)],
            compared=self._compared,
        )

    def bias(self, best: Confirmed, among: Sequence[Confirmed], *, over: Confirmed | None = None) -> float:
        """Selection bias of the mean of the best `among` some, or of its lead `over` one of them."""
        spread, freedom = seed_spread([*self._scores.values()])
        return selection_bias(
            [self.mean(one) for one in among],
            error=spread / math.sqrt(len(best.scores)),
            freedom=freedom,
            over=next((i for i, one in enumerate(among) if one is over), None),
        )


def still_racing(confirmed: Sequence[Confirmed], *, images: int) -> list[Confirmed]:
    """The candidates that may still turn out best; the others get no further seeds and are not exported.

    Racing: seed by seed from the second on, a candidate drops out once it is distinguishably worse than the most
    accurate one. A round depends only on the scores of the seeds up to it, so repeating it gives the same result.
    Published widths do not race, but tell the spread between seeds.
    """
    seeds = sorted({seed for c in confirmed for seed in c.scores})
    candidates = [c for c in confirmed if not c.trial.published]
    racing = candidates
    for n in range(2, len(seeds) + 1):
        so_far = {c.key: cut for c in confirmed if (cut := c.with_seeds(seeds[:n])).scores}
        compare = Comparison([*so_far.values()], compared=len(candidates), images=images)
        scored = [so_far[c.key] for c in racing if c.key in so_far]
        if scored:
            leader = max(scored, key=compare.mean)
            out = {c.key for c in scored if compare.difference(leader, c).low > 0}
            racing = [c for c in racing if c.key not in out]
    return racing


def dropped_out(confirmed: Sequence[Confirmed], *, images: int) -> set[str]:
    """Keys of the candidates that no longer race; see `still_racing`."""
    racing = {c.key for c in still_racing(confirmed, images=images)}
    return {c.key for c in confirmed if not c.trial.published} - racing


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfirmationProgress:
    """Trainings of the confirmation: done (failed ones included), at most planned, and seeds per network."""

    done: int
    planned: int
    seeds: int


def confirmation_progress(
    plan: ConfirmationPlan, confirmed: Sequence[Confirmed], scores: Sequence[Score], *, images: int
) -> ConfirmationProgress:
    """How far the confirmation is. `confirmed` are the scored finalists and published widths."""
    tried = {(score.subject, score.seed) for score in scores if not score.is_unfinished}
    out = dropped_out(confirmed, images=images)
    wanted = [(key, seed) for key in (*plan.keys, *plan.widths) for seed in plan.seeds]
    done = sum(one in tried for one in wanted)
    left = sum(key not in out and (key, seed) not in tried for key, seed in wanted)
    return ConfirmationProgress(done=done, planned=done + left, seeds=len(plan.seeds))
