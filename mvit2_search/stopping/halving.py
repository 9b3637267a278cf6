"""Asynchronous successive halving of two objectives: after a few epochs, only the best share goes on.

The stopping variant of MO-ASHA (Schmucker et al., arXiv:2106.12639): a candidate that reaches a rung is ranked
among all that reached it before, by non-dominated sorting of accuracy there and latency. It promises nothing about
the front: slow learners are stopped.
"""

from collections.abc import Sequence

from mvit2_search.analysis.pareto import front_ranks
from mvit2_search.stopping.rule import Curve, epochs_of


class Halving:
    """The best 1/`factor` of those that reached a rung go on; points of one front stay or go together.

    Rungs are the epochs 1, `factor`, `factor` squared and so on before the last.
    """

    stops_dominated = False

    def __init__(self, *, factor: int = 3) -> None:
        self.factor = factor

    def should_stop(self, scores: Sequence[float], latency_ms: float, past: Sequence[Curve]) -> bool:
        epoch = len(scores)
        if epoch >= epochs_of(past) or not self._is_rung(epoch):
            return False
        reached = [curve for curve in past if len(curve.scores) >= epoch]
        ranks = front_ranks(
            [scores[-1], *(curve.scores[epoch - 1] for curve in reached)],
            [latency_ms, *(curve.latency_ms for curve in reached)],
        )
        better = int((ranks < ranks[0]).sum())
        return better >= max(1, len(ranks) // self.factor)

    def _is_rung(self, epoch: int) -> bool:
        while epoch % self.factor == 0:
            epoch //= self.factor
        return epoch == 1
