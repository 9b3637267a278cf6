"""Processor time of `status` and `report` on a study of many trials, each in a process of its own.

    OMP_NUM_THREADS=1 python benchmarks/reading.py --trials 10000 --out benchmarks/reading.json

The study is written straight into its database: random networks of `blocks`, a tenth of them over the budget, the
ten most accurate confirmed with three seeds. Half a minute on one core.
"""

import argparse
import json
import random
import resource
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from optuna.distributions import distribution_to_json

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.cost import network_cost
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.records import (
    Candidate,
    DataInputs,
    Finished,
    Goals,
    Infeasible,
    Inputs,
    Passport,
    Prediction,
    Published,
    Score,
    StudyDevice,
    Trial,
)
from mvit2_search.records.codec import to_json
from mvit2_search.sampler.optuna import distributions
from mvit2_search.space import draw_params, load_space
from mvit2_search.store import create_study, database_path, driver_lock
from mvit2_search.system.files import write_atomically

CLASSES = 10
PASSPORT = Passport(
    device="a formula",
    chip="none",
    system="none",
    runtime="none",
    compute_units="none",
    precision="float32",
    batch=1,
    threads=1,
    protocol=0,
)


def build_study(folder: Path, count: int) -> None:
    """A study of `count` trials in `folder`, as a driver would have left it."""
    best = _write_trials(folder, count)
    with driver_lock(folder), closing(create_study(folder)) as study:  # which makes the digests
        for arch in best:
            for seed in (1000, 1001, 1002):
                study.add_score(Score(subject=arch.key, seed=seed, result=80 + random.Random(arch.key).random()))


def _write_trials(folder: Path, count: int) -> list[ArchConfig]:
    with driver_lock(folder), closing(create_study(folder)) as study:
        sizes = {"train": 100, "selection": 5000, "confirmation": 5000}
        classes = tuple(str(i) for i in range(CLASSES))
        data = DataInputs(name="none", fingerprint="0" * 16, classes=classes, **sizes)
        study.set_fact("inputs", Inputs(space={}, data=data, latency_budget="1000ms", training={}))
        study.set_fact("goals", Goals(trials=count + 10, confirm_seeds=3))
        study.set_fact("devices", {"host": StudyDevice(passport=PASSPORT, reference_ms=10.0, budget_ms=1000.0)})
    space, rng = load_space("blocks"), random.Random(0)
    kinds = {name: distribution_to_json(one) for name, one in distributions(space).items()}
    trials = []
    with closing(sqlite3.connect(database_path(folder))) as connection:
        for number in range(count):
            params = draw_params(space, rng)
            trial = _trial(number, space.decode(params), rng)
            trials.append(trial)
            _insert(connection, trial, {name: (float(value), kinds[name]) for name, value in params.items()})
        connection.commit()
    finished = [t for t in trials if isinstance(t.outcome, Finished) and t.published is None]
    return [t.arch for t in sorted(finished, key=lambda t: -t.outcome.score)[:10]]


def _trial(number: int, arch: ArchConfig, rng: random.Random) -> Trial:
    cost = network_cost(arch, ClassifierHead(CLASSES))
    ms = 20 * cost.macs / 1e9 + (1000 if number % 10 == 9 else 0)
    latency = Prediction(latency_ms=ms, low_ms=ms, high_ms=ms, predictor="a law")
    pct = 90 - 20 * (1e6 / (1e6 + cost.params)) + rng.gauss(0, 0.5)
    finished = Finished(score=pct, curve=(pct / 2, pct), latencies={"host": latency})
    return Trial(
        number=number,
        arch=arch,
        outcome=Infeasible(latencies={"host": latency}) if number % 10 == 9 else finished,
        params=cost.params,
        macs=cost.macs,
        seed=0,
        seconds=30.0,
        role=Published("mobilevitv2-0.5") if number == 0 else Candidate(),
        provenance={"data": "0" * 16},
    )


def _insert(connection: sqlite3.Connection, trial: Trial, params: dict[str, tuple[float, str]]) -> None:
    """A trial as Optuna keeps it in its tables."""
    key, moment = trial.number + 1, "2026-01-01 00:00:00"
    state = "COMPLETE" if isinstance(trial.outcome, Finished) else "PRUNED"
    connection.execute("INSERT INTO trials VALUES (?, ?, 1, ?, ?, ?)", (key, trial.number, state, moment, moment))
    connection.execute(
        "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (?, 'record', ?)",
        (key, json.dumps(to_json(trial))),
    )
    connection.executemany(
        "INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json) VALUES (?, ?, ?, ?)",
        [(key, name, *value) for name, value in params.items()],
    )
    if isinstance(trial.outcome, Finished):
        values = (trial.outcome.score, trial.outcome.latency.latency_ms)
        connection.executemany(
            "INSERT INTO trial_values (trial_id, objective, value, value_type) VALUES (?, ?, ?, 'FINITE')",
            [(key, objective, value) for objective, value in enumerate(values)],
        )


def processor_s(command: str, folder: Path) -> float:
    """Of one command, its imports included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    called = [sys.executable, "-m", "mvit2_search", command, str(folder)]
    subprocess.run(called, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "many"
        build_study(folder, asked.trials)
        taken = {command: round(processor_s(command, folder), 2) for command in ("status", "report")}
    report = {"trials": asked.trials, "processor_s": taken}
    write_atomically(asked.out, json.dumps(report, indent=2) + "\n")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
