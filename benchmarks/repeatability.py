"""Whether latencies repeat: the same architectures timed in several processes, and two 6 % apart put in order.

    python benchmarks/repeatability.py --device host --processes 5 --tries 100 --out benchmarks/repeatability.json

Every process has a folder of its own, so it finds the unit and the reference's latency anew. The tries are
single measurements of both architectures by the plan, in random order; the right order is that of the
medians of all tries. Takes about a quarter of an hour, in which nothing else should run.
"""

import argparse
import json
import platform
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from mvit2_search.arch import ArchConfig, published
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.export.untrained import Written, export_untrained
from mvit2_search.measure.devices.registry import make_device
from mvit2_search.measure.timer import open_timer
from mvit2_search.records import DEFAULT_FORMULATION, Measurement
from mvit2_search.task.data.load import FASHION_MNIST_MINI, load_images

NETWORKS = ("mobilevitv2-0.5", "mobilevitv2-0.75", "mobilevitv2-1.0", "mobilevitv1-xxs", "mobilevitv1-xs")
PAIR = (0.5, 0.53)  # widths: 6 % apart on one thread of ONNX Runtime
CLASSES = 1000


def processes(device: str, count: int) -> list[dict[str, Any]]:
    """For each network, what each process measured and how far apart they are."""
    found = [_process(device) for _ in range(count)]
    return [_agreement(name, [one[name] for one in found]) for name in NETWORKS]


def _process(device: str) -> dict[str, Any]:
    """Latencies as JSON by network, measured in a new process with a new folder."""
    code = "import sys, repeatability; repeatability.measure_all(sys.argv[1])"
    command = [sys.executable, "-c", code, device]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent).stdout
    found: dict[str, Any] = json.loads(printed)
    return found


def measure_all(device: str) -> None:
    """Print what every network takes, as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        host = make_device(device)
        with open_timer(
            host, results=Path(folder), head=ClassifierHead(CLASSES), formulation=DEFAULT_FORMULATION
        ) as timer:
            print(json.dumps({name: asdict(timer.measure(published(name))) for name in NETWORKS}))


def _agreement(name: str, latencies: list[dict[str, Any]]) -> dict[str, Any]:
    """Distances in percent from the median of the processes, of milliseconds and of ratios to the reference."""
    milliseconds = [one["latency_ms"] for one in latencies]
    ratios = [one["latency_ms"] / one["reference_ms"] for one in latencies]
    return {
        "network": name,
        "ms": milliseconds,
        "ratio": ratios,
        "flags": [one["flags"] for one in latencies],
        "worst_ms_pct": _worst(milliseconds),
        "worst_ratio_pct": _worst(ratios),
    }


def _worst(values: Sequence[float]) -> float:
    return 100 * float(np.max(np.abs(np.array(values) / np.median(values) - 1)))


def order(device_name: str, tries: int) -> dict[str, Any]:
    """How often one measurement of each of two architectures puts them in the right order."""
    device, rng = make_device(device_name), random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        exported = {width: _exported(width, device.format, folder) for width in PAIR}
        rows = []
        with open_timer(
            device, results=folder, head=ClassifierHead(CLASSES), formulation=DEFAULT_FORMULATION
        ) as timer:
            for _ in range(tries):
                turn = [*PAIR]
                rng.shuffle(turn)
                rows.append({width: timer.measure_export(exported[width], again=True) for width in turn})
        small, large = PAIR
        return _ordered([row[small] for row in rows], [row[large] for row in rows])


def _exported(width: float, format: str, folder: Path) -> Callable[[Path], Written]:
    """Gives the same file, which is exported and compared with its network once."""
    written = export_untrained(
        ArchConfig.mobilevitv2(width),
        folder,
        format=format,
        head=ClassifierHead(CLASSES),
        formulation=DEFAULT_FORMULATION,
        images=lambda size: load_images(FASHION_MNIST_MINI, image_size=size, count=4),
    )
    agreement = written.verify()
    return lambda _: replace(written, verify=lambda: agreement)


def _ordered(small: list[Measurement], large: list[Measurement]) -> dict[str, Any]:
    apart = 100 * (np.median([one.latency_ms for one in large]) / np.median([one.latency_ms for one in small]) - 1)
    right = sum(a.latency_ms < b.latency_ms for a, b in zip(small, large, strict=True))
    interval = binomtest(right, len(small)).proportion_ci(0.95)
    return {
        "widths": PAIR,
        "apart_pct": float(apart),
        "right": right,
        "tries": len(small),
        "interval": [interval.low, interval.high],
        "flagged": sum(bool(one.flags) for one in [*small, *large]),
        "measurements": [[asdict(one) for one in both] for both in zip(small, large, strict=True)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="host")
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--tries", type=int, default=100)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = processes(options.device, options.processes)
    for row in rows:
        times = " ".join(f"{ms:.2f}" for ms in row["ms"])
        print(
            f"{row['network']:<17} {times} ms: {row['worst_ms_pct']:.1f} % off, "
            f"ratios {row['worst_ratio_pct']:.1f} %"
        )
    ordered = order(options.device, options.tries)
    low, high = ordered["interval"]
    print(
        f"widths {PAIR[0]} and {PAIR[1]}, {ordered['apart_pct']:.1f} % apart: {ordered['right']} of "
        f"{ordered['tries']} in the right order ({low:.0%} to {high:.0%}), {ordered['flagged']} flagged"
    )
    if options.out:
        report = {"passport": asdict(make_device(options.device).passport()), "python": platform.python_version()}
        options.out.write_text(json.dumps(report | {"processes": rows, "order": ordered}, indent=1) + "\n")


if __name__ == "__main__":
    main()
