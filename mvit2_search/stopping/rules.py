"""The stopping rules: `Dominance`, `Halving` and `NeverStop`."""

import math
from collections.abc import Sequence

from mvit2_search.analysis.pareto import front_ranks
from mvit2_search.stopping import Audit, Verdict
from mvit2_search.stopping.audit import audit, best_rival
from mvit2_search.stopping.bound import Regression, regression
from mvit2_search.stopping.curves import Curve, Size, epochs_of


class Dominance:
    """Stops a training whose prediction bound shows that it will not enter the front, if an audit vouches for it.

    The latency is known before the training, so the candidate competes with the finished networks that are at
    least as fast. Its standing after some epochs is the mean over them of its accuracy, in standard deviations of
    all trainings after the same epoch: every epoch carries information and noise of its own. A linear regression
    over the finished trainings predicts the last accuracy from the standing and, where that predicts better, from
    multiply-adds, parameters or layers. The bound is the upper prediction bound (Student's t), and at least
    `slack` times the largest surprise among the finished trainings above the prediction: so every late bloomer
    that was seen keeps the next one from being stopped.

    The confidence holds for one candidate over all its epochs: each gets an equal share of the risk (Bonferroni).
    It assumes trainings of one kind. What protects the others:

    - Nothing is stopped while the audit cannot vouch: each finished training is judged by the others, and of those
      that would have been stopped, too few or too many may have ended above their bound.
    - Nothing is stopped that is larger than all but `larger` - 1 of the finished networks, in multiply-adds,
      parameters or layers: of its kind, too little is known.
    - A share of what would be stopped is trained to its end, chosen by lot.

    Args:
        confidence: that the last accuracy is not above any of the bounds of a training.
        at_least: finished trainings before any is judged, not below 4.
        most_missed: the audit vouches while the 95 % interval of the miss rate ends at or below this.
        share: of the candidates that would be stopped, trained to their end.
        larger: finished networks that are at least as large, before one is stopped.
        slack: see above.
    """

    stops_dominated = True

    def __init__(
        self,
        *,
        confidence: float = 0.99,
        at_least: int = 5,
        most_missed: float = 0.3,
        share: float = 0.1,
        larger: int = 2,
        slack: float = 1.25,
    ) -> None:
        self.confidence, self.at_least, self.most_missed = confidence, at_least, most_missed
        self.share, self.larger, self.slack = share, larger, slack

    def judge(self, candidate: Curve, past: Sequence[Curve], *, lot: float) -> Verdict | None:
        finished = [curve for curve in past if curve.finished]
        rival = best_rival(candidate, finished)
        if rival == -math.inf or (bound := self.bound_pct(candidate, finished)) > rival:
            return None
        acts = lot >= self.share and self._is_known(candidate.size, finished) and self.audit(finished).vouches
        return Verdict(stops=acts, bound=bound)

    def audit(self, past: Sequence[Curve]) -> Audit:
        finished = [curve for curve in past if curve.finished]
        judged = finished if len(finished) >= self.at_least else []
        return audit(judged, confidence=self._confidence(past), most_missed=self.most_missed)

    def bound_pct(self, candidate: Curve, finished: Sequence[Curve]) -> float:
        """The upper bound with one epoch's share of the risk; infinite while too few trainings have finished."""
        if len(finished) < self.at_least or len(candidate.scores) >= epochs_of(finished):
            return math.inf
        found = _regression(candidate, finished)
        if found is None:
            return math.inf
        return max(
            found.bound(self._confidence(finished)),
            found.predicted + self.slack * float(found.left_out.max()),
        )

    def _confidence(self, finished: Sequence[Curve]) -> float:
        """Of one bound."""
        return 1 - (1 - self.confidence) / max(1, epochs_of(finished) - 1)

    def _is_known(self, size: Size, finished: Sequence[Curve]) -> bool:
        """Whether enough of the finished networks are as large, in every measure."""
        return all(
            sum(curve.size[i] >= measure for curve in finished) >= self.larger for i, measure in enumerate(size)
        )


def _regression(candidate: Curve, finished: Sequence[Curve]) -> Regression | None:
    curves, sizes = [curve.scores for curve in finished], [curve.size for curve in finished]
    return regression(candidate.scores, curves, candidate.size, sizes)


class Halving:
    """Asynchronous successive halving of two objectives: after a few epochs, only the best share goes on.

    The stopping variant of MO-ASHA (Schmucker et al., arXiv:2106.12639). Rungs are the epochs 1, `factor`,
    `factor` squared and so on before the last. A candidate that reaches one is ranked among all that reached it
    before, by non-dominated sorting of accuracy there and latency. The best 1/`factor` go on; points of one front
    stay or go together. It promises nothing about the front: slow learners are stopped.
    """

    stops_dominated = False

    def __init__(self, *, factor: int = 3) -> None:
        self.factor = factor

    def judge(self, candidate: Curve, past: Sequence[Curve], *, lot: float) -> Verdict | None:
        epoch = len(candidate.scores)
        if epoch >= epochs_of(past) or not self._is_rung(epoch):
            return None
        reached = [curve for curve in past if len(curve.scores) >= epoch]
        ranks = front_ranks(
            [candidate.scores[-1], *(curve.scores[epoch - 1] for curve in reached)],
            [candidate.latency_ms, *(curve.latency_ms for curve in reached)],
        )
        better = int((ranks < ranks[0]).sum())
        return Verdict() if better >= max(1, len(ranks) // self.factor) else None

    def audit(self, past: Sequence[Curve]) -> None:
        return None

    def _is_rung(self, epoch: int) -> bool:
        while epoch % self.factor == 0:
            epoch //= self.factor
        return epoch == 1


class NeverStop:
    """Trains everything to the end."""

    stops_dominated = False

    def judge(self, candidate: Curve, past: Sequence[Curve], *, lot: float) -> Verdict | None:
        return None

    def audit(self, past: Sequence[Curve]) -> None:
        return None
