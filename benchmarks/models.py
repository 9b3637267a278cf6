"""Our networks beside timm's: training steps and inference, in turn, so that both see the same machine.

    python benchmarks/models.py --rounds 30 --out benchmarks/models.json

Three tables, each with medians over the rounds and the median of the ratios, round by round:

- train: one training step of each in one process, the same loop around both: channels last, cross-entropy,
  fused AdamW, the allocator's settings of our training for both.
- infer: one batch through each in one process, as each library offers it: timm's network in evaluation
  mode, ours as `for_inference` makes it. Both hold the same weights; their outputs are compared.
- worker: a plain timm loop in a process of its own against our training in another, images as uint8 to
  begin with. Only one of the two runs at a time. A round is four steps at 64 pixels, one at 256.

Needs timm: pip install -e '.[dev]'
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import product
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.measure.devices.machine import chip, system
from mvit2_search.models import build_model, for_inference
from mvit2_search.models.weights import load_state_dict
from mvit2_search.records import Recipe
from mvit2_search.task.classification import Classification
from mvit2_search.task.data.dataset import Split
from mvit2_search.train.device import keep_freed_memory
from mvit2_search.train.loop import train_epochs

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from others import of_timm  # with the stubs that timm needs beside a torch for the CPU alone

CLASSES, WARMUP, SMOOTHING = 10, 3, 0.1
WORKER_STEPS = {64: 4, 256: 1}  # in a round, which is an epoch of our training
BATCHES = {"train": {64: (32,), 256: (8,)}, "infer": {64: (32,), 256: (1, 8)}, "worker": {64: (32,), 256: (8,)}}


@dataclass(frozen=True, kw_only=True)
class Case:
    table: str
    width: float
    size: int
    batch: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """Milliseconds: median, 10th and 90th percentile. `ratio` is timm's time over ours."""

    case: Case
    rounds: int
    timm_ms: tuple[float, float, float]
    ours_ms: tuple[float, float, float]
    ratio: tuple[float, float, float]
    images_per_s: float
    relative_error: float | None = None


def main() -> None:
    options = parsed()
    if options.worker:
        serve(options.worker, Case(**json.loads(options.case)))
        return
    keep_freed_memory()
    rows = []
    for table, width, size in product(options.tables, options.widths, options.sizes):
        for batch in BATCHES[table][size]:
            row = measured(Case(table=table, width=width, size=size, batch=batch), options.rounds)
            rows.append(row)
            print(line(row), flush=True)
    if options.out:
        options.out.write_text(json.dumps(report(rows), indent=1) + "\n")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--tables", nargs="+", default=list(BATCHES), choices=list(BATCHES))
    parser.add_argument("--widths", nargs="+", type=float, default=[0.5, 1.0, 2.0])
    parser.add_argument("--sizes", nargs="+", type=int, default=[64, 256], choices=[64, 256])
    parser.add_argument("--out", type=Path, help="write the rows, the machine and the versions as JSON")
    parser.add_argument("--worker", choices=["timm", "ours"], help=argparse.SUPPRESS)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    return parser.parse_args()


def measured(case: Case, rounds: int) -> Row:
    if case.table == "worker":
        with worker("timm", case) as theirs, worker("ours", case) as ours:
            return row(case, in_turn(theirs, ours, rounds))
    theirs_model, ours_model = networks(case)
    if case.table == "train":
        return row(case, in_turn(timed(training(theirs_model, case)), timed(training(ours_model, case)), rounds))
    ready, x = for_inference(ours_model), images(case)
    theirs_model.eval()
    runs = [timed(inference(model, x)) for model in (theirs_model, ready)]
    with torch.inference_mode():
        expected, found = theirs_model(x), ready(x)
    error = float((found - expected).abs().max() / expected.abs().max())
    return row(case, in_turn(*runs, rounds), error)


def networks(case: Case) -> tuple[nn.Module, nn.Module]:
    """timm's and ours with timm's weights, channels last."""
    arch = ArchConfig.mobilevitv2(case.width)
    torch.manual_seed(0)
    theirs, ours = of_timm(arch, CLASSES), build_model(arch, ClassifierHead(CLASSES))
    load_state_dict(ours, theirs.state_dict())
    for model in (theirs, ours):
        model.to(memory_format=torch.channels_last)
    return theirs, ours


def training(model: nn.Module, case: Case) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-3, fused=True)
    x, labels = images(case), torch.randint(0, CLASSES, (case.batch,))

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(x), labels, label_smoothing=SMOOTHING).backward()
        optimizer.step()

    return step


def inference(model: nn.Module, x: Tensor) -> Callable[[], None]:
    def run() -> None:
        with torch.inference_mode():
            model(x)

    return run


def images(case: Case) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(case.batch, 3, case.size, case.size, generator=generator)
    return x.contiguous(memory_format=torch.channels_last)


def timed(run: Callable[[], None]) -> Callable[[], float]:
    def milliseconds() -> float:
        start = perf_counter()
        run()
        return 1e3 * (perf_counter() - start)

    return milliseconds


def in_turn(
    theirs: Callable[[], float], ours: Callable[[], float], rounds: int
) -> tuple[list[float], list[float]]:
    """Milliseconds of both, one run of each per round; who is first changes every round."""
    for _ in range(WARMUP):
        theirs(), ours()
    times: dict[Callable[[], float], list[float]] = {theirs: [], ours: []}
    for i in range(rounds):
        for run in (theirs, ours) if i % 2 else (ours, theirs):
            times[run].append(run())
    return times[theirs], times[ours]


@contextmanager
def worker(which: str, case: Case) -> Iterator[Callable[[], float]]:
    """A process that trains a round whenever it is asked to, and says how long a step took."""
    command = [sys.executable, __file__, "--worker", which, "--case", json.dumps(asdict(case))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        requests, answers = process.stdin, process.stdout

        def step_ms() -> float:
            requests.write("go\n")
            requests.flush()
            return float(answers.readline())

        yield step_ms
        requests.close()


def serve(which: str, case: Case) -> None:
    round_ms = timed(plain_timm_loop(case) if which == "timm" else our_training(case))
    for _ in sys.stdin:
        print(round_ms() / WORKER_STEPS[case.size], flush=True)


def plain_timm_loop(case: Case) -> Callable[[], None]:
    """What a user of timm would write."""
    model = of_timm(ArchConfig.mobilevitv2(case.width), CLASSES).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-3, fused=True)
    split = some_images(case)

    def some_steps() -> None:
        for _ in range(WORKER_STEPS[case.size]):
            x = torch.from_numpy(split.pixels_NSSC).permute(0, 3, 1, 2).float().div(255)
            x = x.contiguous(memory_format=torch.channels_last)
            labels = torch.from_numpy(split.labels_N)
            loss = F.cross_entropy(model(x), labels, label_smoothing=SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return some_steps


def our_training(case: Case) -> Callable[[], None]:
    """What a search does: `train_epochs`, which flips images and clips gradients besides."""
    keep_freed_memory()
    recipe = Recipe(
        epochs=10**6,
        image_size=case.size,
        images_per_epoch=case.batch * WORKER_STEPS[case.size],
        batch_size=case.batch,
        learning_rate=1e-3,
        label_smoothing=SMOOTHING,
    )
    model = build_model(ArchConfig.mobilevitv2(case.width), ClassifierHead(CLASSES))
    epochs = train_epochs(
        model, some_images(case), recipe, task=Classification(range(CLASSES)), seed=0, device="cpu"
    )
    return lambda: next(epochs) and None


def some_images(case: Case) -> Split:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (case.batch, case.size, case.size, 3), dtype=np.uint8)
    return Split(pixels_NSSC=pixels, labels_N=rng.integers(0, CLASSES, case.batch))


def row(case: Case, times: tuple[list[float], list[float]], error: float | None = None) -> Row:
    theirs, ours = times
    ratios = [a / b for a, b in zip(theirs, ours, strict=True)]
    return Row(
        case=case,
        rounds=len(ours),
        timm_ms=spread(theirs),
        ours_ms=spread(ours),
        ratio=spread(ratios),
        images_per_s=1e3 * case.batch / statistics.median(ours),
        relative_error=error,
    )


def spread(values: list[float]) -> tuple[float, float, float]:
    median, low, high = np.percentile(values, [50, 10, 90])
    return float(median), float(low), float(high)


def line(row: Row) -> str:
    case = row.case
    times = "  ".join(
        f"{name} {m:8.1f} ms ({low:.1f}-{high:.1f})"
        for name, (m, low, high) in (("timm", row.timm_ms), ("ours", row.ours_ms))
    )
    error = "" if row.relative_error is None else f"  outputs {row.relative_error:.0e} apart"
    return (
        f"{case.table:7} {case.width:4} at {case.size:3} px x {case.batch:2}  {times}"
        f"  ratio {row.ratio[0]:.2f} ({row.ratio[1]:.2f}-{row.ratio[2]:.2f}){error}"
    )


def report(rows: list[Row]) -> dict[str, object]:
    packages = ("mvit2-search", "torch", "timm", "numpy")
    return {
        "command": " ".join(["python", "benchmarks/models.py", *sys.argv[1:]]),
        "date": datetime.now(UTC).date().isoformat(),
        "chip": chip(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": f"{system()}, Python {platform.python_version()}",
        "versions": {package: version(package) for package in packages},
        "rows": [asdict(row) for row in rows],
    }


if __name__ == "__main__":
    main()
