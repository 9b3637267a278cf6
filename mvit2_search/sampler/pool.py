"""Networks to choose the next one from."""

import numpy as np

from mvit2_search.sampler.domain import Params
from mvit2_search.sampler.encoding import Encoding

_STEPS = 0.02, 0.2  # between which lies the standard deviation of small changes of ordered settings
_FRESH = 0.5  # how often a change is a new value instead of a small step


def random_rows(count: int, encoding: Encoding, cheapest: Params | None, rng: np.random.Generator) -> np.ndarray:
    """`count` rows with every setting drawn evenly. Where there is a `cheapest` network, every other row is moved
    towards it by a random share of the way, so that some fit a tight budget; settings without an order stay."""
    rows_ND = encoding.draw(count, rng)
    if cheapest is not None:
        share_N1 = np.where(np.arange(count) % 2, rng.random(count), 1)[:, None]
        lowest_D = encoding.encode([cheapest])[0]
        moved_ND = lowest_D + share_N1 * (rows_ND - lowest_D)
        rows_ND = np.where(encoding.ordered_D, moved_ND, rows_ND)
    return rows_ND


def mutated(parents_PD: np.ndarray, count: int, encoding: Encoding, rng: np.random.Generator) -> np.ndarray:
    """`count` rows, each a random parent in which one setting is changed, or two, or (half as often) more."""
    settings = parents_PD.shape[1]
    rows_ND = parents_PD[rng.integers(len(parents_PD), size=count)]
    changes_N = np.minimum(rng.geometric(0.5, size=count), settings)
    rank_ND = rng.permuted(np.tile(np.arange(settings), (count, 1)), axis=1)
    fresh_ND = encoding.draw(count, rng)
    near_ND = _stepped(rows_ND, encoding, rng)
    small_ND = encoding.ordered_D & (rng.random(rows_ND.shape) > _FRESH)
    changed_ND: np.ndarray = np.where(rank_ND < changes_N[:, None], np.where(small_ND, near_ND, fresh_ND), rows_ND)
    return changed_ND


def _stepped(x_ND: np.ndarray, encoding: Encoding, rng: np.random.Generator) -> np.ndarray:
    """Every ordered setting moved by a small step: of a few values, to a neighbouring one at least."""
    low, high = np.log(_STEPS)
    scale_N = np.exp(rng.uniform(low, high, len(x_ND)))
    step_ND = rng.normal(0, scale_N[:, None], x_ND.shape)
    least_D = np.where(encoding.count_D > 1, 1 / np.maximum(encoding.count_D - 1, 1), 0)
    moved_ND: np.ndarray = np.clip(x_ND + np.sign(step_ND) * np.maximum(np.abs(step_ND), least_D), 0, 1)
    return moved_ND
