"""What a study found: the best architecture under the budget and whether it beats the width knob.

Everything rests on the confirmation: trainings with seeds that the search did not use, scored on images
that it never saw, compared seed by seed. The candidates that were confirmed are compared all together, as the
best of them is chosen by the same scores (`paired.py`).
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mvit2_search.analysis.choice_bias import choice_bias
from mvit2_search.analysis.paired import Difference, levels_pct, paired_difference, seed_spread
from mvit2_search.analysis.pareto import front_mask
from mvit2_search.records import (
    ConfirmationPlan,
    Failed,
    Finished,
    Latency,
    Limits,
    Prediction,
    Score,
    Trial,
    place,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Confirmed:
    """An architecture and its accuracy for each fresh seed; `balanced_pct` where classes are unbalanced."""

    trial: Trial
    accuracy_pct: dict[int, float]
    balanced_pct: dict[int, float] = field(default_factory=dict)

    @property
    def mean_pct(self) -> float:
        return float(np.mean(list(self.accuracy_pct.values())))

    @property
    def mean_balanced_pct(self) -> float | None:
        return float(np.mean(list(self.balanced_pct.values()))) if self.balanced_pct else None

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
        compared: how many were confirmed, published widths included; `best` is the highest of them.
        best: the highest confirmed accuracy of all, published widths included; what is exported by default.
        searched: the highest of the candidates still racing, if one was confirmed.
        published: the largest published width that was confirmed, if there is one.
        gain: of `searched` over `published`, where there are both; corrected for `searched` having been chosen
            among `gain.compared` candidates by the same scores, its interval and its estimate.
        fastest: of all whose accuracy cannot be told from the best one's; often the best itself.
        lead: of `best` over `fastest`, where they are two; corrected for `best` having been chosen among all
            `compared` by the same scores, but not to less than nothing.
    """

    best: Confirmed
    searched: Confirmed | None
    published: Confirmed | None
    gain: Difference | None
    fastest: Confirmed
    lead: Difference | None = None
    compared: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfirmationProgress:
    """How many trainings of the confirmation are done, failed ones included, and how many there are at most.

    Attributes:
        seeds: with so many seeds for each.
    """

    done: int
    planned: int
    seeds: int


def front(trials: Sequence[Trial], limits: Limits) -> list[Trial]:
    """The finished trials within the limits that no other of them dominates."""
    finished = [t for t in trials if isinstance(t.outcome, Finished) and limits.allow_trial(t)]
    outcomes = [t.outcome for t in finished if isinstance(t.outcome, Finished)]
    mask = front_mask([o.score for o in outcomes], [o.latency.latency_ms for o in outcomes])
    return [trial for trial, on_front in zip(finished, mask, strict=True) if on_front]


def still_racing(confirmed: Sequence[Confirmed], *, images: int) -> list[Confirmed]:
    """The candidates that may still turn out best: the others get no further seeds, and are not exported.

    Round by round from the second seed on, whatever is distinguishably worse than the most accurate candidate
    is out. What is decided of a round rests on the scores of the seeds up to it alone, so that it is decided
    again as it was.

    Args:
        confirmed: all that is confirmed; published widths are not judged but tell how much a seed does.
        images: how many the scores were tested on.
    """
    seeds = sorted({seed for c in confirmed for seed in c.accuracy_pct})
    candidates = [c for c in confirmed if not c.trial.published]
    racing = candidates
    for n in range(2, len(seeds) + 1):
        so_far = [c for c in (_within(c, seeds[:n]) for c in confirmed) if c.accuracy_pct]
        now = {c.trial.arch.key: c for c in so_far}
        known = [now[c.trial.arch.key] for c in racing if c.trial.arch.key in now]
        leader = max(known, key=_levels(so_far), default=None)
        compare = _comparison(so_far, compared=len(candidates), images=images)
        out = {c.trial.arch.key for c in known if leader and compare(leader, c).low > 0}
        racing = [c for c in racing if c.trial.arch.key not in out]
    return racing


def _within(confirmed: Confirmed, seeds: Sequence[int]) -> Confirmed:
    scores = {seed: pct for seed, pct in confirmed.accuracy_pct.items() if seed in seeds}
    return replace(confirmed, accuracy_pct=scores)


def _levels(confirmed: Sequence[Confirmed]) -> Callable[[Confirmed], float]:
    """How accurate each is, whichever of the seeds it has been trained with; see `paired.levels_pct`."""
    levels = dict(
        zip((id(c.trial) for c in confirmed), levels_pct([c.accuracy_pct for c in confirmed]), strict=True)
    )
    return lambda one: levels[id(one.trial)]


def _comparison(
    confirmed: Sequence[Confirmed], *, compared: int, images: int
) -> Callable[[Confirmed, Confirmed], Difference]:
    """How the accuracies of two of `confirmed` differ; `compared` of the differences hold together."""
    scores = {id(c.trial): c.accuracy_pct for c in confirmed}

    def compare(first: Confirmed, second: Confirmed) -> Difference:
        others = [one for key, one in scores.items() if key not in (id(first.trial), id(second.trial))]
        return paired_difference(
            first.accuracy_pct, second.accuracy_pct, images=images, others=others, compared=max(compared, 1)
        )

    return compare


def judge(
    trials: Sequence[Trial],
    scores: Sequence[Score],
    limits: Limits,
    *,
    images: int,
    finalists: Collection[str] | None = None,
) -> Verdict | None:
    """The verdict, or None where nothing within the limits has been confirmed.

    Args:
        images: how many the scores were tested on.
        finalists: see `confirmations`.
    """
    tested = confirmations(trials, scores, finalists)
    rivals = [c for c in tested if not c.trial.published]
    difference = _comparison(tested, compared=len(rivals), images=images)
    candidates = [c for c in still_racing(tested, images=images) if limits.allow_trial(c.trial)]
    widths = [c for c in tested if c.trial.published and limits.allow_trial(c.trial)]
    confirmed = [*candidates, *widths]
    if not confirmed:
        return None

    def is_even(one: Confirmed) -> bool:
        gap = difference(best, one)
        return gap.pairs > 1 and not gap.distinguishable

    def gain_over(searched: Confirmed, width: Confirmed) -> Difference:
        gap = difference(searched, width)
        return gap if gap.pairs < 2 else gap.corrected(_choice(tested, searched, among=rivals))

    def lead_over(one: Confirmed) -> Difference:
        gap = difference(best, one)
        choice = _choice(tested, best, among=[*rivals, *widths], over=one)
        return gap.corrected(min(choice, max(gap.mean, 0.0)))

    level = _levels(tested)
    best = max(confirmed, key=level)
    searched = max(candidates, key=level, default=None)
    published = max(widths, key=lambda c: c.latency_ms, default=None)
    fastest = min([best, *filter(is_even, confirmed)], key=lambda c: c.latency_ms)
    return Verdict(
        best=best,
        searched=searched,
        published=published,
        gain=gain_over(searched, published) if searched and published else None,
        fastest=fastest,
        lead=lead_over(fastest) if fastest is not best else None,
        compared=len(rivals) + len(widths),
    )


def _choice(
    confirmed: Sequence[Confirmed],
    chosen: Confirmed,
    *,
    among: Sequence[Confirmed],
    over: Confirmed | None = None,
) -> float:
    """How much too high `chosen` is on average, or its lead `over` another, as the best `among` some."""
    spread, freedom = seed_spread([c.accuracy_pct for c in confirmed])
    levels = [*map(_levels(confirmed), among)]
    error = spread / math.sqrt(len(chosen.accuracy_pct))
    at = next((i for i, one in enumerate(among) if one is over), None)
    return choice_bias(levels, error=error, freedom=freedom, over=at)


def confirmations(
    trials: Sequence[Trial], scores: Sequence[Score], finalists: Collection[str] | None = None
) -> list[Confirmed]:
    """The trials that have confirmed scores, in order of number.

    Args:
        finalists: keys of the candidates that are compared; others may have scores of an earlier choice, which
            count for nothing. None for all.
    """
    found: dict[str, dict[int, float]] = {}
    balanced: dict[str, dict[int, float]] = {}
    for score in scores:
        if not isinstance(score.result, Failed):
            found.setdefault(score.subject, {})[score.seed] = score.result
        if score.balanced is not None:
            balanced.setdefault(score.subject, {})[score.seed] = score.balanced
    finished = [t for t in trials if isinstance(t.outcome, Finished) and t.repeats is None]
    once = {
        t.arch.key: t for t in sorted(finished, key=lambda t: t.published is not None)
    }  # a published width wins
    confirmed = [
        Confirmed(trial=once[key], accuracy_pct=found[key], balanced_pct=balanced.get(key, {}))
        for key in found.keys() & once.keys()
    ]
    compared = [c for c in confirmed if finalists is None or c.trial.published or c.trial.arch.key in finalists]
    return sorted(compared, key=lambda c: place(c.trial))


def confirmation_progress(
    plan: ConfirmationPlan, confirmed: Sequence[Confirmed], scores: Sequence[Score], *, images: int
) -> ConfirmationProgress:
    """How far the confirmation is; what is out of the race needs no further seeds.

    Args:
        confirmed: what the scores of the finalists say.
        images: how many the scores were tested on.
    """
    tried = {(score.subject, score.seed) for score in scores if not score.is_unfinished}
    racing = {c.trial.arch.key for c in still_racing(confirmed, images=images)}
    out = {c.trial.arch.key for c in confirmed if not c.trial.published} - racing
    wanted = [(key, seed) for key in (*plan.keys, *plan.widths) for seed in plan.seeds]
    done = sum(one in tried for one in wanted)
    left = sum(key not in out and (key, seed) not in tried for key, seed in wanted)
    return ConfirmationProgress(done=done, planned=done + left, seeds=len(plan.seeds))
