"""Commands where nothing takes long, one after another: `python tests/quick.py '{NAME: [WORD, ...], ...}'`.

The first word is a command of mvit2-search, or a script of benchmarks/. Before each command a file of its name
is made in results/: whoever watches what is written sees which command wrote it. Networks are exported, loaded
and run by the real libraries, but once and few of them, and times are made up.
"""

import json
import sys
import time
from pathlib import Path

import predictor_bench.run as predictor_bench
from predictor import predictor
from samplers import samplers

import mvit2_search.measure.bench as bench
import mvit2_search.measure.rank as rank
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
cpu.HostDevice.pause = staticmethod(lambda seconds: time.sleep(min(seconds, 0.01)))
bench.published_networks = lambda: {"mobilevitv2-0.5": ArchConfig.mobilevitv2(0.5)}
rank.published_networks = lambda: {
    f"mobilevitv2-{width}": ArchConfig.mobilevitv2(width) for width in (0.5, 0.75, 1.0)
}
predictor_bench.LEAST_MEASURED = predictors.LEAST_MEASURED = 4
bench.MIXERS, bench.TOKENS = ("separable",), (64,)

SCRIPTS = {"predictor.py": predictor, "samplers.py": samplers}


def run(words: list[str]) -> None:
    """One command; ends the process where it fails."""
    try:
        SCRIPTS[words[0]](words[1:]) if words[0] in SCRIPTS else cli(words)
    except SystemExit as end:
        if end.code:
            raise


if __name__ == "__main__":  # not in the processes that a command starts
    for name, words in json.loads(sys.argv[1]).items():
        Path("results", name).touch()
        run(words)
