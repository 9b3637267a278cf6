"""What is confirmed: every candidate that may be the one to export, as far as one seed can tell.

A candidate was trained once, with the search's seed. Another seed, or other images, would have given it another
accuracy, so the front of the search is partly an accident: a candidate just below it may be better.
"""

import math
from collections.abc import Sequence

from mvit2_search.analysis.paired import sampling_error_pct, seed_spread
from mvit2_search.analysis.verdict import Confirmed
from mvit2_search.arch import PUBLISHED_WIDTHS, published_name
from mvit2_search.records import Finished, Limits, Trial

MOST = 4  # candidates; with two published widths and three seeds, 18 trainings at most
SEED_SPREAD_PCT = 0.7  # of one architecture between seeds, where nothing is known: docs/decisions.md
_KNOWN = 3  # degrees of freedom from which on the confirmed scores say it themselves
_WIDTH_NAMES = [published_name(width) for width in PUBLISHED_WIDTHS]


def choose_candidates(
    trials: Sequence[Trial], limits: Limits, *, images: int, confirmed: Sequence[Confirmed] = ()
) -> list[Trial]:
    """The candidates within the limits that one seed cannot tell from the most accurate, on the front or not.

    The most accurate come first, of equal ones the fastest, and at most `MOST` are chosen.

    Args:
        images: how many the trials were scored on.
        confirmed: what the spread between seeds is estimated from, if it is enough.
    """
    found = [t for t in trials if t.is_trained_candidate and limits.allow_trial(t)]
    found = sorted((t for t in found if isinstance(t.outcome, Finished)), key=_rank)
    spread, freedom = seed_spread([c.accuracy_pct for c in confirmed])
    if freedom < _KNOWN:
        spread = SEED_SPREAD_PCT

    def is_close(trial: Trial) -> bool:
        noise = math.hypot(_noise(trial, spread, images), _noise(found[0], spread, images))
        return _accuracy(trial) >= _accuracy(found[0]) - 1.96 * noise

    return [trial for trial in found[:MOST] if is_close(trial)]


def bracket(trials: Sequence[Trial], limits: Limits) -> list[Trial]:
    """The largest published width within the limits and the smallest beyond, as far as trained."""
    trained = {t.published: t for t in trials if t.published and isinstance(t.outcome, Finished)}
    widths = [trained[name] for name in _WIDTH_NAMES if name in trained]
    within = [t for t in widths if limits.allow_trial(t)]
    beyond = [t for t in widths if not limits.allow_trial(t)]
    return within[-1:] + beyond[:1]


def _noise(trial: Trial, spread: float, images: int) -> float:
    """The standard deviation of one accuracy: the seed's and that of the choice of images."""
    return math.hypot(spread, sampling_error_pct(_accuracy(trial), images) / 1.96)


def _accuracy(trial: Trial) -> float:
    assert isinstance(trial.outcome, Finished)
    return trial.outcome.score


def _rank(trial: Trial) -> tuple[float, float, int]:
    assert trial.latency is not None
    return -_accuracy(trial), trial.latency.latency_ms, trial.number or 0
