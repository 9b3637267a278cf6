"""Accuracy after every epoch and the host's latency of architectures of `blocks`: what a search would see.

    python benchmarks/curves.py --out results/curves
    python benchmarks/curves.py --out results/curves --latencies

The first trains 24 architectures with 3 seeds each, an hour and a half on one core; stopped, it goes on where it
was. The second times them and needs a quiet machine. `results/curves/README.md` describes the files.
"""

import argparse
import json
import random
import tempfile
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

from mvit2_search.arch import ArchConfig, published
from mvit2_search.arch.cost import network_cost
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.measure.devices.registry import make_device
from mvit2_search.measure.timer import open_timer
from mvit2_search.records import DEFAULT_FORMULATION, Recipe
from mvit2_search.space import Params, SearchSpace, draw_params, load_space
from mvit2_search.system.files import write_atomically
from mvit2_search.task.data.dataset import Dataset
from mvit2_search.task.data.load import load_dataset
from mvit2_search.train.device import keep_freed_memory, resolve_train_device
from mvit2_search.train.plan import images_drawn
from mvit2_search.train.proxies import ShortTrain

DATA, CLASSES = "fashion-mnist-mini", 10
RECIPE = Recipe(epochs=8, images_per_epoch=1000)
ARCHITECTURES, SEEDS = 24, (0, 1, 2)
LARGEST = "mobilevitv2-1.0"


def architectures() -> list[ArchConfig]:
    """Those of `settings`."""
    space = load_space("blocks")
    return [space.decode(params) for params in settings()]


def settings() -> list[Params]:
    """24 draws from `blocks`, every axis evenly, each moved so far towards the cheapest network that the
    multiply-adds are spread evenly over those from the cheapest to MobileViTv2-1.0's."""
    space, generator = load_space("blocks"), random.Random(0)
    low, high = (_macs(arch) for arch in (space.decode(space.lowest), published(LARGEST)))
    limits = [low + (high - low) * (i + 1) / ARCHITECTURES for i in range(ARCHITECTURES)]
    return [_drawn_within(space, limit, generator) for limit in limits]


def _drawn_within(space: SearchSpace, limit: float, generator: random.Random) -> Params:
    """The largest step from the cheapest network towards a random one that stays within `limit`."""
    drawn = draw_params(space, generator)
    steps = (space.towards_cheapest(drawn, share / 100) for share in range(100, -1, -1))
    return next(params for params in steps if _macs(space.decode(params)) <= limit)


def _macs(arch: ArchConfig) -> int:
    return network_cost(arch, ClassifierHead(CLASSES)).macs


def train_all(out: Path, device: str, share: tuple[int, int]) -> None:
    """Train what has no file in `out` yet: all seeds of one architecture after the other.

    Args:
        share: (i, n) trains every n-th, from the i-th; n processes do it together.
    """
    dataset = load_dataset(DATA, image_size=RECIPE.image_size, max_train=images_drawn(RECIPE))
    proxy = ShortTrain(RECIPE, device)
    wanted = [(arch, seed) for arch in architectures() for seed in SEEDS]
    for arch, seed in wanted[share[0] :: share[1]]:
        path = out / f"{arch.key}-{seed}.json"
        if not _is_there(path, dataset, proxy):
            row = _train(proxy, arch, dataset, seed)
            write_atomically(path, json.dumps(row, indent=1) + "\n")
            print(f"{path.name}: {row['curve'][-1]:.2f} % in {row['seconds']:.0f} s", flush=True)


def _is_there(path: Path, dataset: Dataset, proxy: ShortTrain) -> bool:
    """Ends the script where a curve is of other data or of another recipe."""
    if not path.exists():
        return False
    row = json.loads(path.read_text())
    if (row["data"], row["settings"]) != (dataset.fingerprint, proxy.settings()):
        raise SystemExit(f"{path} was trained otherwise; give another --out")
    return True


def _train(proxy: ShortTrain, arch: ArchConfig, dataset: Dataset, seed: int) -> dict[str, Any]:
    start = perf_counter()
    curve = [score.score for score in proxy.run(arch, dataset, seed=seed, test_on="selection")]
    return {
        "arch": arch.to_json(),
        "seed": seed,
        "curve_pct": curve,
        "seconds": round(perf_counter() - start, 1),
        "data": dataset.fingerprint,
        "settings": proxy.settings(),
    }


def time_all(out: Path) -> None:
    """Write `latencies.json`: what each architecture takes on this computer's CPU, by key."""
    with (
        tempfile.TemporaryDirectory() as folder,
        open_timer(
            make_device("host"),
            results=Path(folder),
            head=ClassifierHead(CLASSES),
            formulation=DEFAULT_FORMULATION,
        ) as timer,
    ):
        measured = {arch.key: asdict(timer.measure(arch)) for arch in architectures()}
        found = {"passport": asdict(timer.meter.passport), "measurements": measured}
    write_atomically(out / "latencies.json", json.dumps(found, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--latencies", action="store_true", help="time instead of training")
    parser.add_argument("--train-on", default="auto", help="auto, cpu, mps or cuda[:i]")
    parser.add_argument("--share", type=int, nargs=2, default=(0, 1), metavar=("I", "N"))
    options = parser.parse_args()
    if options.latencies:
        time_all(options.out)
    else:
        keep_freed_memory()
        train_all(options.out, resolve_train_device(options.train_on), tuple(options.share))


if __name__ == "__main__":
    main()
