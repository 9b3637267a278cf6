"""What can be told of latencies before a candidate is timed, from what a study has timed so far."""

from collections.abc import Sequence

from mvit2_search.complexity import network_cost
from mvit2_search.records import Trial
from mvit2_search.search.forecast import Forecast, Guess
from mvit2_search.search.trials import TrialRunner
from mvit2_search.timer import REFERENCE, REFERENCE_CLASSES


def guess_from(runner: TrialRunner, trials: Sequence[Trial]) -> Guess:
    """From the latencies of `trials` and of the published widths outside of the space.

    Where there is none yet, from that of the reference, which is known on every device.
    """
    known = [*trials, *runner.study.outside()]
    timed = [(t.macs, t.latency.latency_ms) for t in known if t.latency is not None]
    if not timed:
        macs = network_cost(REFERENCE, REFERENCE_CLASSES).macs
        timed = [(macs, runner.evaluator.latencies.reference_ms)]
    macs_N, latencies_ms = zip(*timed, strict=True)
    return Guess(Forecast(macs_N, latencies_ms), runner.limits)
