"""A study in memory, as reports and sentences take it."""

from fakes import finished, measurement, trial
from mvit2_search.analysis.confirmation import Confirmed
from mvit2_search.analysis.paired import Difference
from mvit2_search.analysis.verdict import Verdict
from mvit2_search.records import DataInputs, Failed, Infeasible, Inputs, Limits, Passport, Published
from mvit2_search.report.tables import Summary

PASSPORT = Passport(
    device="a test's device",
    chip="chip <b>",
    system="OS 1",
    runtime="runtime 2",
    compute_units="CPU",
    precision="float32",
    batch=1,
    threads=1,
    protocol=1,
)
TRIALS = [
    trial(0, finished(70, 10), role=Published("mobilevitv2-0.5")),
    trial(1, finished(75, 20), role=Published("mobilevitv2-0.75")),
    trial(
        2, Infeasible(latencies={"host": measurement(60, flags=("unsettled",))}), role=Published("mobilevitv2-1.5")
    ),
    trial(3, finished(76, 15)),
    trial(4, finished(74, 18)),
    trial(5, Failed(reason="training", message='=1+1 </script> "quoted"\nand more')),
    trial(6, finished(80, 25)),
]
BEST = Confirmed(trial=TRIALS[3], scores={1000: 76.0, 1001: 77.0})
WIDTH = Confirmed(trial=TRIALS[1], scores={1000: 75.0, 1001: 75.0})


def inputs(**changes):
    data = DataInputs(
        name="</script><b>", fingerprint="0", classes=("a", "b"), train=9, selection=5000, confirmation=5000
    )
    usual = {"space": {}, "training": {}, "latency_budget": "mobilevitv2-0.75", "stopping": "none"}
    return Inputs(data=data, **usual | changes)


def summary(**changes):
    whole = dict(
        name="test",
        inputs=inputs(),
        passport=PASSPORT,
        limits=Limits(latency_ms=20.0, max_params=None),
        trials=TRIALS,
        outside=[],
        lost=[7],
        front=[TRIALS[0], TRIALS[3]],
        confirmed=[BEST, WIDTH],
        verdict=Verdict(
            best=BEST,
            searched=BEST,
            fastest=BEST,
            published=WIDTH,
            gain=Difference(mean=1.5, low=-4.85, high=7.85, pairs=2),
        ),
        ended="2 candidates are trained",
    )
    return Summary(**whole | changes)
