"""The verdict of a study: the best network within the budget, and its gain over the published widths.

It rests on the confirmation. The best candidate is chosen by the same scores that the gain is computed from, so
the intervals hold for all candidates simultaneously, and the estimates are corrected for selection bias.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mvit2_search.analysis.confirmation import Comparison, Confirmed, confirmations, still_racing
from mvit2_search.analysis.paired import Difference
from mvit2_search.records import Limits, Score, Trial


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The result of the confirmation, within the limits.

    Attributes:
        best: has the highest confirmed accuracy, published widths included; exported by default.
        searched: the best candidate that is still racing, if one was confirmed.
        published: the largest published width that was confirmed, if there is one.
        gain: of `searched` over `published`, if there are both, without the selection bias of `searched` among
            `gain.compared` candidates.
        fastest: of the networks that are statistically tied with `best`; often `best` itself.
        lead: of `best` over `fastest`, if they differ, without the selection bias of `best` among all `compared`;
            not corrected to below 0.
        compared: number of confirmed networks, published widths included.
    """

    best: Confirmed
    searched: Confirmed | None
    published: Confirmed | None
    gain: Difference | None
    fastest: Confirmed
    lead: Difference | None = None
    compared: int = 1


def judge(
    trials: Sequence[Trial],
    scores: Sequence[Score],
    limits: Limits,
    *,
    images: int,
    finalists: Collection[str] | None = None,
) -> Verdict | None:
    """The verdict, or None if nothing within the limits is confirmed; see `confirmations` for `finalists`."""
    tested = confirmations(trials, scores, finalists)
    entrants = [c for c in tested if not c.trial.published]
    candidates = [c for c in still_racing(tested, images=images) if limits.allow_trial(c.trial)]
    widths = [c for c in tested if c.trial.published and limits.allow_trial(c.trial)]
    confirmed = [*candidates, *widths]
    if not confirmed:
        return None
    compare = Comparison(tested, compared=len(entrants), images=images)
    best = max(confirmed, key=compare.mean)
    searched = max(candidates, key=compare.mean, default=None)
    published = max(widths, key=lambda c: c.latency_ms, default=None)

    def is_tied(one: Confirmed) -> bool:
        gap = compare.difference(best, one)
        return gap.pairs > 1 and not gap.distinguishable

    fastest = min([best, *filter(is_tied, confirmed)], key=lambda c: c.latency_ms)
    gain = lead = None
    if searched and published:
        gain = compare.difference(searched, published)
        if gain.pairs > 1:
            gain = gain.corrected(compare.bias(searched, entrants))
    if fastest is not best:
        lead = compare.difference(best, fastest)
        bias = compare.bias(best, [*entrants, *widths], over=fastest)
        lead = lead.corrected(min(bias, max(lead.mean, 0.0)))
    return Verdict(
        best=best,
        searched=searched,
        published=published,
        gain=gain,
        fastest=fastest,
        lead=lead,
        compared=len(entrants) + len(widths),
    )
