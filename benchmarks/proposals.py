"""Processor time of one proposal of the default sampler on `blocks`, after 200 and after 10,000 trials.

    OMP_NUM_THREADS=1 python benchmarks/proposals.py --out benchmarks/proposals.json

Nothing is trained or timed: latencies are proportional to multiply-adds, accuracies a formula with noise. With
`estimate` every latency is known at once, as with `--device estimate:...`; with `device` they are predicted from
those of the trials, as with a device at hand, so well that none has to be measured first. Study and trials are in
memory; reading them from the study's file comes on top. A minute on one core.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.cost import network_cost
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.predict.guess import Guess, PowerLaw
from mvit2_search.records import Finished, Limits, Prediction, Stopped, Trial
from mvit2_search.sampler.optuna import Networks, distributions
from mvit2_search.search.device_change import KeptAccuracies
from mvit2_search.search.proposals import Samplers
from mvit2_search.search.state import State
from mvit2_search.space import draw_params, load_space
from mvit2_search.stopping import make_stopping_rule
from mvit2_search.system.files import write_atomically

CLASSES = 10
BUDGET_MS = 20.0
ASKED = 7


def latency_ms(arch: ArchConfig) -> float:
    return 20 * network_cost(arch, ClassifierHead(CLASSES)).macs / 1e9


def accuracy_pct(arch: ArchConfig, noise: float) -> float:
    return 90 - 20 * (1e6 / (1e6 + network_cost(arch, ClassifierHead(CLASSES)).params)) + noise


def trained(number: int, arch: ArchConfig, pct: float) -> Trial:
    cost, ms = network_cost(arch, ClassifierHead(CLASSES)), latency_ms(arch)
    prediction = Prediction(latency_ms=ms, low_ms=ms, high_ms=ms, predictor="a law")
    finished = Finished(score=pct, curve=(pct / 2, pct), latencies={"host": prediction})
    stopped = Stopped(curve=(pct / 2,), latencies={"host": prediction})
    return Trial(
        number=number,
        arch=arch,
        outcome=stopped if number % 2 else finished,
        params=cost.params,
        macs=cost.macs,
        seed=0,
        seconds=1.0,
        provenance={},
    )


class Search:
    """A study of random networks, every second one stopped, and what `Samplers` looks at."""

    def __init__(self, count: int, quick: Callable[[ArchConfig], float] | None) -> None:
        self.space = load_space("blocks")
        self.study = optuna.create_study(directions=["maximize", "minimize"])
        self.state = State(limits=Limits(latency_ms=BUDGET_MS, max_params=None), kept=KeptAccuracies())
        self.runner: Any = SimpleNamespace(
            study=SimpleNamespace(probes=dict, outside=list),  # nothing was timed before a trial was chosen
            state=self.state,
            head=ClassifierHead(CLASSES),
            jobs=SimpleNamespace(latencies=SimpleNamespace(quick=quick)),
            stopping=make_stopping_rule("dominance"),
        )
        generator, noise = random.Random(0), np.random.default_rng(0)
        frozen = []
        for _ in range(count):
            params = draw_params(self.space, generator)
            values = self.learn(self.space.decode(params), float(noise.normal(0, 0.5)))
            frozen.append(
                optuna.trial.create_trial(params=params, distributions=distributions(self.space), values=values)
            )
        self.study.add_trials(frozen)

    def learn(self, arch: ArchConfig, noise: float) -> list[float]:
        """Note a training; its accuracy and latency."""
        values = [accuracy_pct(arch, noise), latency_ms(arch)]
        self.state.add(trained(len(self.state.trials), arch, values[0]))
        return values

    def guess(self) -> Guess:
        trials = self.state.trials
        law = PowerLaw([t.macs for t in trials], [latency_ms(t.arch) for t in trials])
        return Guess(law, self.state.limits)


def proposal_s(count: int, quick: Callable[[ArchConfig], float] | None) -> dict[str, float]:
    """Median and largest seconds of seven proposals after a first one, which fills what is kept between them."""
    search = Search(count, quick)
    samplers = Samplers("front", Networks(search.space, ClassifierHead(CLASSES)), search.runner, seed=0)
    spent = []
    for _ in range(ASKED + 1):
        guess = search.guess()
        start = time.process_time()
        search.study.sampler = samplers.next(guess)
        asked = search.study.ask(distributions(search.space))
        spent.append(time.process_time() - start)
        search.study.tell(asked, search.learn(search.space.decode(asked.params), 0.0))
    return {"first_s": spent[0], "median_s": statistics.median(spent[1:]), "largest_s": max(spent[1:]), "n": ASKED}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=(200, 10_000))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    report = {
        f"{count} trials, {name}": proposal_s(count, quick)
        for count in options.trials
        for name, quick in (("estimate", latency_ms), ("device", None))
    }
    for name, row in report.items():
        print(f"{name}: " + ", ".join(f"{key} {value:.3g}" for key, value in row.items()))
    if options.out:
        write_atomically(options.out, json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
