"""The command line where nothing takes long: `python tests/quick.py ARGUMENTS`, or a script of benchmarks/ first.

Networks are exported, loaded and run by the real libraries, but once and few of them, and times are made up.
"""

import sys

import predictor_bench.run as predictor_bench
from predictor import predictor
from samplers import samplers

import mvit2_search.measure.bench as bench
from mvit2_search.arch import ArchConfig
from mvit2_search.cli import cli
from mvit2_search.measure import visits
from mvit2_search.measure.devices import cpu
from mvit2_search.predict import predictor as predictors
from mvit2_search.records import Samples


def run_once(candidate_ms, reference_ms, *, plan, load_ms):
    candidate_ms(), reference_ms()
    times = (10.0,) * plan.pairs_per_visit * plan.unit
    return Samples(candidate_ms=times, reference_ms=times, unit=plan.unit, load_ms=load_ms)


visits.take_turns = run_once
cpu.HostDevice.pause = staticmethod(lambda _: None)
bench.published_networks = lambda: {"mobilevitv2-0.5": ArchConfig.mobilevitv2(0.5)}
predictor_bench.LEAST_MEASURED = predictors.LEAST_MEASURED = 4
bench.MIXERS, bench.TOKENS = ("separable",), (64,)

if __name__ == "__main__":  # not in the processes that a command starts
    scripts = {"predictor.py": predictor, "samplers.py": samplers}
    if sys.argv[1] in scripts:
        scripts[sys.argv[1]](sys.argv[2:])
    cli()
