"""A published network and the one that a search found, trained on CIFAR-10 in the same way: which is better?

    mvit2-search run --space blocks --data cifar10 --latency-budget mobilevitv2-0.75 --trials 40 --study cifar
    python benchmarks/cifar10.py --data cifar10 --study results/cifar --epochs 4 --trainings trained \\
        --out results/cifar10

`mvit2-search train` trains both with recipe `small` at 48 pixels, each with the same seeds; with `--teacher
FILE.onnx` (`cifar10_teacher.py` makes one) also with the teacher. `mvit2-search evaluate` then scores the last
epoch, not the best one, which the same images would choose. `--trainings` gets the checkpoints, `--out` a table
(`README.md`) and for each training its curve (`.csv`) and its score (`.json`). What is finished is not trained
again: stop the script with Ctrl-C, SIGTERM or `--minutes`, and go on with the same command. `--out` also keeps
what the study found (`searched.yaml`, `searched.json`), so that `--study` is needed only once and another machine
can go on. Seed 0 of all comes first, then seed 1, so that a table of unfinished work is balanced.

`--data` is a folder with train/ (50,000 images) and val/ (10,000), one sub-folder per class. CIFAR-10 (A.
Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009) is at
https://www.cs.toronto.edu/~kriz/cifar.html; its test images are val/.
"""

import argparse
import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from mvit2_search.analysis.paired import Difference, paired_difference
from mvit2_search.api import export_architecture, read_study
from mvit2_search.arch.config import arch_yaml
from mvit2_search.measure.devices.machine import chip
from mvit2_search.records import Finished, Trial
from mvit2_search.system.files import write_atomically
from mvit2_search.system.text import counted

PUBLISHED, SEARCHED, TAUGHT = "mobilevitv2-0.75", "searched", "with teacher"
RECIPE = ("--recipe", "small", "--image-size", "48")
TEACHING = ("--teacher-weight", "0.5")  # the other half of the loss is that of the labels


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A network, and whether a teacher helps to train it."""

    network: str
    taught: bool

    @property
    def name(self) -> str:
        return f"{self.network}, {TAUGHT}" if self.taught else self.network

    def file(self, seed: int) -> str:
        """The name, without an ending, of the files of one training."""
        return f"{self.network}{'-taught' if self.taught else ''}-seed{seed}"


class TimeIsUp(Exception):
    """The minutes are over; the training is saved."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trainings:
    """Trains what is not finished.

    Attributes:
        what: of each network, what `mvit2-search train` calls it.
        until: on the monotonic clock, in seconds; None without a limit.
    """

    data: str
    folder: Path
    out: Path
    epochs: int
    teacher: Path | None
    what: Mapping[str, str]
    until: float | None

    def score(self, case: Case, seed: int) -> dict[str, Any] | None:
        """What `evaluate` said, if the training is finished; ends the script where it had other epochs."""
        path = self.out / f"{case.file(seed)}.json"
        if not path.exists():
            return None
        row: dict[str, Any] = json.loads(path.read_text())
        if row["epochs"] != self.epochs:
            raise SystemExit(f"{path}: trained for {row['epochs']} epochs; give another --out and --trainings")
        return row

    def train(self, case: Case, seed: int) -> None:
        """Train to the end, or go on with that, and score it; raises `TimeIsUp`."""
        folder = self.folder / case.file(seed)
        teacher = ["--teacher", str(self.teacher), *TEACHING] if case.taught else []
        settings = [*RECIPE, "--epochs", str(self.epochs), "--seed", str(seed), *teacher]
        images = ["--data", self.data, "--results", str(self.folder)]  # decoded ones are kept there
        self._run("train", self.what[case.network], *images, "--out", str(folder), *settings)
        said = self._run("evaluate", str(folder / "checkpoint-last"), *images, "--json")
        row = {"network": case.network, "taught": case.taught, "seed": seed, "epochs": self.epochs}
        row |= {"machine": machine()}
        shutil.copy(folder / "metrics.csv", self.out / f"{case.file(seed)}.csv")
        write_atomically(self.out / f"{case.file(seed)}.json", json.dumps(row | scored(said), indent=1) + "\n")

    def _run(self, *words: str) -> str:
        """What `evaluate` prints. A command is told to end, and saves, when the time is up or the script ends."""
        print(f"mvit2-search {shlex.join(words)}", flush=True)
        wait_s = None if self.until is None else max(self.until - time.monotonic(), 0)
        keeps = words[0] == "evaluate"
        with subprocess.Popen(
            [sys.executable, "-m", "mvit2_search", *words], stdout=subprocess.PIPE if keeps else None, text=True
        ) as process:
            try:
                said, _ = process.communicate(timeout=wait_s)
            except subprocess.TimeoutExpired:
                raise TimeIsUp from None
            finally:
                process.terminate()
        if process.returncode:
            raise SystemExit(f"mvit2-search {words[0]} ended with exit code {process.returncode}")
        return said or ""


def machine() -> str:
    """This one, with the versions that matter."""
    cores = counted(os.cpu_count() or 1, "core")
    return (
        f"{cores} of {chip()}, {platform.system()}, Python {platform.python_version()}, torch {version('torch')}"
    )


def scored(said: str) -> dict[str, Any]:
    """The parts of what `evaluate` printed that do not say where something lies."""
    found = json.loads(said)
    return {name: found[name] for name in ("image_size", "source_size", "top1", "top5", "classes")}


@dataclass(frozen=True, kw_only=True, slots=True)
class Searched:
    """What a study found, as `--out` keeps it.

    Attributes:
        key: of the architecture.
        found_by: the study and its trial.
        timed_on: chip, runtime and image size of the latencies.
        latencies: of each network, as the study measured it.
    """

    key: str
    found_by: str
    timed_on: str
    latencies: dict[str, str]


def keep_searched(study: Path, arch_file: Path, about_file: Path) -> None:
    """Write the most accurate confirmed network of a study."""
    summary, trial = read_study(study), export_architecture(study).trial
    assert trial is not None  # of a study
    if trial.published:
        raise SystemExit(f"{study}: its best network is {trial.published}; there is nothing to compare")
    published = next((trial for trial in summary.all_trials if trial.published == PUBLISHED), None)
    searched = Searched(
        key=trial.arch.key,
        found_by=f"trial {trial.number} of study {summary.name}",
        timed_on=f"{summary.passport.chip}, {summary.passport.runtime}, {trial.arch.image_size} pixels",
        latencies={PUBLISHED: latency(published), SEARCHED: latency(trial)},
    )
    write_atomically(arch_file, arch_yaml(trial.arch, [f"{trial.arch.key}, {searched.found_by}"]))
    write_atomically(about_file, json.dumps(asdict(searched), indent=1) + "\n")


def read_searched(study: Path | None, out: Path) -> Searched:
    """What `out` keeps, or else what `study` found, which `out` keeps from then on."""
    arch_file, about_file = out / "searched.yaml", out / "searched.json"
    if not about_file.exists():
        if study is None:
            raise SystemExit(f"{about_file} is missing: give --study, the folder of a finished study")
        keep_searched(study, arch_file, about_file)
    return Searched(**json.loads(about_file.read_text()))


def latency(trial: Trial | None) -> str:
    return str(trial.outcome.latency) if trial and isinstance(trial.outcome, Finished) else "not timed"


def table(
    rows: Mapping[Case, Mapping[int, dict[str, Any] | None]], searched: Searched, about: Iterable[str]
) -> str:
    """The text of `README.md`."""
    missing = [
        f"{case.name}, seed {seed}" for case, found in rows.items() for seed in found if found[seed] is None
    ]
    lines = [
        "# Trained on CIFAR-10: a published network and one that a search found",
        "",
        *about,
        *(f"Trained on {machine}." for machine in machines(rows)),
        "",
        f"Missing: {'; '.join(missing)}." if missing else "All trainings are finished.",
        "",
        "Top-1 in percent on all images of val/, after the last epoch, with Wilson's 95 % interval:",
        "",
        "| network | latency | seeds | mean | standard deviation | each seed |",
        "|---|---|---:|---:|---:|---|",
        *(network_row(case, found, searched) for case, found in rows.items()),
        "",
        "Differences of seeds in pairs, in points (`mvit2_search/analysis/paired.py`). In 95 % of cases all these",
        "intervals hold together:",
        "",
        "| first minus second | pairs | mean | 95 % interval |",
        "|---|---:|---:|---|",
        *map(difference_row, differences(rows)),
    ]
    return "\n".join(lines) + "\n"


def machines(rows: Mapping[Case, Mapping[int, dict[str, Any] | None]]) -> list[str]:
    """What the trainings ran on, each once."""
    return sorted({row["machine"] for found in rows.values() for row in found.values() if row is not None})


def network_row(case: Case, found: Mapping[int, dict[str, Any] | None], searched: Searched) -> str:
    scores = [*tops(found).values()]
    mean = f"{fmean(scores):.2f}" if scores else ""
    spread = f"{stdev(scores):.2f}" if len(scores) > 1 else ""
    each = (
        f"{seed}: {row['top1']['pct']:.2f} [{row['top1']['low_pct']:.2f}, {row['top1']['high_pct']:.2f}]"
        for seed, row in found.items()
        if row is not None
    )
    name = case.name.replace(SEARCHED, f"{SEARCHED} ({searched.key})")
    return (
        f"| {name} | {searched.latencies[case.network]} | {len(scores)} | {mean} | {spread} | {'; '.join(each)} |"
    )


def tops(found: Mapping[int, dict[str, Any] | None]) -> dict[int, float]:
    """Top-1 in percent by seed."""
    return {seed: row["top1"]["pct"] for seed, row in found.items() if row is not None}


def differences(rows: Mapping[Case, Mapping[int, dict[str, Any] | None]]) -> list[tuple[str, Difference]]:
    """Searched minus published, and with minus without the teacher; the spread is estimated from all."""
    scores = {case: tops(found) for case, found in rows.items()}
    images = max((row["top1"]["images"] for found in rows.values() for row in found.values() if row), default=0)
    pairs = [
        (first, second)
        for first in scores
        for second in scores
        if scores[first].keys() & scores[second].keys()
        and (
            (first.taught == second.taught and (first.network, second.network) == (SEARCHED, PUBLISHED))
            or (first.network == second.network and first.taught > second.taught)
        )
    ]
    return [
        (
            f"{first.name} minus {second.name}",
            paired_difference(
                scores[first],
                scores[second],
                images=images,
                others=[found for case, found in scores.items() if case not in (first, second)],
                compared=len(pairs),
            ),
        )
        for first, second in pairs
    ]


def difference_row(named: tuple[str, Difference]) -> str:
    name, found = named
    interval = f"{found.low:+.2f} to {found.high:+.2f}" if found.pairs > 1 else "needs two seeds"
    return f"| {name} | {found.pairs} | {found.mean:+.2f} | {interval} |"


def explanation(options: argparse.Namespace, searched: Searched) -> Sequence[str]:
    """What is trained on what, and with which command."""
    command = ["--data", "cifar10", "--study", "results/cifar", "--epochs", str(options.epochs)]
    command += ["--trainings", "trained", "--out", "results/cifar10", "--seeds", str(options.seeds)]
    command += ["--teacher", options.teacher.name] if options.teacher else []
    return [
        "CIFAR-10: 50,000 images to train on and 10,000 to test with (val/), 32 pixels, ten classes;",
        "`benchmarks/cifar10.py` says where it is from. Both networks are trained from random weights with the",
        f"same seeds and recipe `small`, 48 pixels, {counted(options.epochs, 'epoch')}.",
        "The search chose the second by short trainings, at last among a few finalists, on the images of val/.",
        *(
            [f"The teacher is that of `benchmarks/cifar10_teacher.py`: {' '.join(TEACHING)}."]
            if options.teacher
            else []
        ),
        "",
        f"    python benchmarks/cifar10.py {shlex.join(command)}",
        "",
        f"Searched: {searched.found_by} (`searched.yaml`). Latencies are the study's: {searched.timed_on}.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder with train/ and val/")
    parser.add_argument("--study", type=Path, help="folder of a finished study, until --out has what it found")
    parser.add_argument("--trainings", type=Path, required=True, help="folder for checkpoints")
    parser.add_argument("--out", type=Path, required=True, help="folder for the table and the curves")
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--teacher", type=Path, help="ONNX file; trains everything with it too")
    parser.add_argument("--minutes", type=float, help="stop then, and write the table of what is finished")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that it ends what it runs, which saves
    searched = read_searched(options.study, options.out)
    trainings = Trainings(
        data=options.data,
        folder=options.trainings,
        out=options.out,
        epochs=options.epochs,
        teacher=options.teacher,
        what={PUBLISHED: PUBLISHED, SEARCHED: str(options.out / "searched.yaml")},
        until=None if options.minutes is None else time.monotonic() + 60 * options.minutes,
    )
    kinds = (False, True) if options.teacher else (False,)
    cases = [Case(network=network, taught=taught) for taught in kinds for network in (PUBLISHED, SEARCHED)]
    seeds = range(options.seeds)

    def write_table() -> None:
        rows = {case: {seed: trainings.score(case, seed) for seed in seeds} for case in cases}
        write_atomically(options.out / "README.md", table(rows, searched, explanation(options, searched)))

    write_table()
    for seed, case in ((seed, case) for seed in seeds for case in cases):
        if trainings.score(case, seed) is None:
            try:
                trainings.train(case, seed)
            except TimeIsUp:
                print(f"Time is up; the table so far: {options.out / 'README.md'}")
                return
            write_table()
    print(f"Table: {options.out / 'README.md'}")


if __name__ == "__main__":
    main()
