"""From the networks trained so far to what others will reach, and to the front they have to beat."""

import numpy as np

from mvit2_search.pareto import front_mask
from mvit2_search.sampler.domain import Domain
from mvit2_search.sampler.encoding import Encoding
from mvit2_search.sampler.gain import Front
from mvit2_search.sampler.history import History
from mvit2_search.sampler.surrogate import Surrogate

_MIDDLE = 0.5  # quantile of accuracy below which it is compressed
_FIRST = 10  # the front counts from the worst of the first trained
_MOST = 400  # trainings that the model is made of


def fit(history: History, encoding: Encoding, domain: Domain) -> tuple[Surrogate, Front]:
    """The model and the front, both in compressed accuracies.

    Networks that are in training count as if they had reached what the model expects of them, so that workers do
    not all propose the same.
    """
    kept = informative(history.accuracy_N, history.latency_N, _MOST)
    x_ND = encoding.encode([history.params[i] for i in kept])
    y_N, latency_N = compressed(history.accuracy_N)[kept], history.latency_N[kept]
    surrogate = Surrogate(encoding.choices)
    surrogate.fit(x_ND, y_N)
    worst = float(compressed(history.accuracy_N)[:_FIRST].min())
    if history.running:
        running_RD = encoding.encode(history.running)
        expected_R = surrogate.predict(running_RD)[0]
        y_N, latency_N = np.r_[y_N, expected_R], np.r_[latency_N, domain.latency(history.running).ms_M]
        surrogate.condition(np.r_[x_ND, running_RD], y_N)
    return surrogate, Front.of(y_N, latency_N, (worst, domain.limit_ms))


def compressed(accuracy_N: np.ndarray) -> np.ndarray:
    """Accuracies above the median on a straight line from 0 to 1, those below on a logarithm that meets it.

    How bad a bad network is says little about the good ones, and a model of both wastes its variance on it.
    """
    middle = np.quantile(accuracy_N, _MIDDLE)
    share_N = (accuracy_N - middle) / max(float(accuracy_N.max() - middle), 1e-12)
    y_N: np.ndarray = np.where(share_N >= 0, share_N, -np.log1p(np.maximum(-share_N, 0)))
    return y_N


def informative(accuracy_N: np.ndarray, latency_N: np.ndarray, most: int) -> np.ndarray:
    """Indices of at most `most` points, in order: the nearest to the front, and a quarter spread over the rest."""
    left = np.arange(len(accuracy_N))
    if len(left) <= most:
        return left
    near: list[int] = []
    while len(near) < most - most // 4:
        mask = front_mask(accuracy_N[left], latency_N[left])
        near, left = [*near, *left[mask]], left[~mask]
    near = near[: most - most // 4]
    rest = np.setdiff1d(np.arange(len(accuracy_N)), near)
    spread = rest[np.linspace(0, len(rest) - 1, most // 4).round().astype(int)]
    return np.sort(np.r_[near, spread])
