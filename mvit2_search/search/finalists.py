"""What is confirmed: every candidate that may be the one to export, as far as one seed can tell.

A candidate was trained once, with the search's seed. Another seed, or other images, would have given it another
accuracy, so the front of the search is partly an accident: a candidate just below it may be better.
"""

import math
from collections.abc import Sequence

import numpy as np

from mvit2_search.arch import PUBLISHED_WIDTHS, published_name
from mvit2_search.paired import sampling_error_pct, seed_spread
from mvit2_search.records import Finished, Trial
from mvit2_search.verdict import Confirmed, Limits

MOST = 4  # candidates; with two published widths and three seeds, 18 trainings at most
SEED_SPREAD_PCT = 0.7  # of one architecture between seeds, where nothing is known: docs/decisions.md
_KNOWN = 3  # degrees of freedom from which on the confirmed scores say it themselves
_DRAWS, _CONSIDERED = 1_000, 1_000
_WIDTH_NAMES = [published_name(width) for width in PUBLISHED_WIDTHS]


def choose_candidates(
    trials: Sequence[Trial], limits: Limits, *, images: int, confirmed: Sequence[Confirmed] = ()
) -> list[Trial]:
    """At most `MOST` of the candidates within the limits, the most promising first.

    Considered is every one that cannot be told from the most accurate by one seed. The most accurate comes
    first; the others in the order of how often they are the most accurate, or the fastest that cannot be told
    from it, when the accuracies are drawn again within their noise.

    Args:
        images: how many the trials were scored on.
        confirmed: what the spread between seeds is estimated from, if it is enough.
    """
    found = [t for t in trials if t.is_trained_candidate and limits.allow_trial(t)]
    found = sorted((t for t in found if isinstance(t.outcome, Finished)), key=_accuracy, reverse=True)
    if not found:
        return []
    spread, freedom = seed_spread([c.accuracy_pct for c in confirmed])
    noise = [_noise(t, spread if freedom >= _KNOWN else SEED_SPREAD_PCT, images) for t in found]
    best = _accuracy(found[0])
    within = [_accuracy(t) >= best - 1.96 * math.hypot(one, noise[0]) for t, one in zip(found, noise, strict=True)]
    contenders = [i for i in range(len(found)) if within[i]][:_CONSIDERED]
    chances = _chances([found[i] for i in contenders], [noise[i] for i in contenders])
    order = sorted(contenders, key=lambda i: (i > 0, -chances[i]))
    return [found[i] for i in order[:MOST]]


def bracket(trials: Sequence[Trial], limits: Limits) -> list[Trial]:
    """The largest published width within the limits and the smallest beyond, as far as trained."""
    trained = {t.baseline: t for t in trials if t.baseline and isinstance(t.outcome, Finished)}
    widths = [trained[name] for name in _WIDTH_NAMES if name in trained]
    within = [t for t in widths if limits.allow_trial(t)]
    beyond = [t for t in widths if not limits.allow_trial(t)]
    return within[-1:] + beyond[:1]


def _noise(trial: Trial, spread: float, images: int) -> float:
    """The standard deviation of one accuracy: the seed's and that of the choice of images."""
    return math.hypot(spread, sampling_error_pct(_accuracy(trial), images) / 1.96)


def _chances(trials: Sequence[Trial], noise: Sequence[float]) -> np.ndarray:
    """How often each is the most accurate, or the fastest of those that one seed cannot tell from it."""
    rng = np.random.default_rng(0)
    accuracy, deviation = np.array([_accuracy(t) for t in trials]), np.array(noise)
    latency = np.array([t.latency.latency_ms for t in trials if t.latency is not None])
    drawn = rng.normal(accuracy, deviation, size=(_DRAWS, len(trials)))
    even = drawn >= drawn.max(axis=1, keepdims=True) - 1.96 * math.sqrt(2) * deviation
    picked = np.where(even, latency, np.inf).argmin(axis=1)
    return np.bincount(np.concatenate([drawn.argmax(axis=1), picked]), minlength=len(trials))


def _accuracy(trial: Trial) -> float:
    assert isinstance(trial.outcome, Finished)
    return trial.outcome.accuracy_pct
