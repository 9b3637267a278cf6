"""How fast images come to a training, and how large a folder may be.

    python benchmarks/data.py start --files 1331000
    python benchmarks/data.py loader --data DIR
    python benchmarks/data.py epoch --data DIR --rounds 7

- start: a process of its own opens a folder of so many links to small JPEG files, in 1,000 classes and two parts:
  seconds until the first batch is there, and its largest memory.
- loader: images per second of our loader beside those of a training step, both with one thread, for the recipes
  `small` and `imagenet`: files decoded anew, and decoded images from the cache.
- epoch: our training beside a plain loop of timm's network, loader and transforms, each in a process of its own,
  in turn: an epoch on files, with crops and flips alike.

`--data` is a folder of small images with train/ and its classes. `loader` and `epoch` make photographs of them, as
large as those of ImageNet (500 x 375 pixels, some 100 kB).

Needs timm: pip install -e '.[dev]'
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from mvit2_search.arch import ArchConfig
from mvit2_search.records import Recipe
from mvit2_search.task.data.cache import image_cache
from mvit2_search.task.data.full import load_full
from mvit2_search.train.device import keep_freed_memory
from mvit2_search.train.full import new_trainer
from mvit2_search.train.job import TrainingJob, prepare_training
from mvit2_search.train.loader import Steps, batches
from mvit2_search.train.plan import load_recipe

CLASSES, VAL_SHARE, BASES = 1000, 26, 100  # of 26 files, one is to test on
PHOTO, NOISE, QUALITY = (500, 375), 12, 90
EPOCH = Recipe(epochs=10**4, image_size=64, images_per_epoch=None, batch_size=64, crop_area=0.35, settle=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["start", "loader", "epoch", "_open", "_serve"])
    parser.add_argument("--files", type=int, default=1_331_000)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--photos", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--workers", type=int, default=2, help="of timm's loader")
    parser.add_argument("--who", choices=["ours", "timm"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    {"start": start, "loader": loader, "epoch": epoch, "_open": opened, "_serve": serve}[options.what](options)


def start(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        write_links(Path(folder), options.files)
        command = [sys.executable, __file__, "_open", "--data", f"{folder}/images"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    print(f"{options.files:,} files: {done.stdout.strip()}")


def write_links(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    for i in range(BASES):
        pixels = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.jpg")
    for i in range(count):
        part, name = "val" if i // CLASSES % VAL_SHARE == 0 else "train", f"n{i % CLASSES:08}"
        place = folder / "images" / part / name
        if i // CLASSES < 2:
            place.mkdir(parents=True)
        os.link(folder / f"{i % BASES}.jpg", f"{place}/{name}_{i}.JPEG")


def opened(options: argparse.Namespace) -> None:
    """Open a folder in this process, as a training by `imagenet` does."""
    began, recipe = perf_counter(), load_recipe("imagenet", {"batch_size": 64})
    with tempfile.TemporaryDirectory() as results:
        cache = image_cache(Path(results), 10)
        data = load_full(str(options.data), size=recipe.source_size, whole=True, cache=cache)
        next(batches(Steps(data.train, recipe, seed=0), 0, 1))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(f"{perf_counter() - began:.1f} s until the first batch, {peak / 1e9:.2f} GB")


@contextmanager
def photographs(options: argparse.Namespace) -> Iterator[Path]:
    """A folder with train/ and val/ of large JPEG files."""
    found = sorted((options.data / "train").rglob("*.*"))
    rng, step = np.random.default_rng(0), max(1, len(found) // options.photos)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        for number, path in enumerate(found[::step][: options.photos]):
            large = np.asarray(Image.open(path).convert("RGB").resize(PHOTO, Image.Resampling.BICUBIC), np.int16)
            noisy = (large + rng.integers(-NOISE, NOISE + 1, large.shape)).clip(0, 255).astype(np.uint8)
            for part in ("train", "val") if number % 50 < 2 else ("train",):
                place = Path(folder) / part / str(number % 2)
                place.mkdir(parents=True, exist_ok=True)
                Image.fromarray(noisy).save(place / f"{number}.jpg", quality=QUALITY)
        yield Path(folder)


def loader(options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    keep_freed_memory()
    with photographs(options) as folder:
        for name in ("small", "imagenet"):
            recipe = load_recipe(name, {"batch_size": 32})
            with tempfile.TemporaryDirectory() as results:
                found = speeds(folder, recipe, Path(results), options)
            print(f"{name}, width {options.width} at {recipe.image_size} pixels, images/s: {found}", flush=True)


def job_on(folder: Path, recipe: Recipe, width: float, results: Path, cache_gb: float = 10) -> TrainingJob:
    return prepare_training(
        ArchConfig.mobilevitv2(width),
        recipe,
        data=str(folder),
        out=results / "out",
        train_on="cpu",
        cache_gb=cache_gb,
        results=results,
    )


def speeds(folder: Path, recipe: Recipe, results: Path, options: argparse.Namespace) -> str:
    size = recipe.batch_size
    bare, cached = (job_on(folder, recipe, options.width, results, cache_gb) for cache_gb in (0, 10))
    every = range(len(bare.data.train))
    cached.data.train.squares(every)  # all of them are kept now
    count = len(every) // size
    loaded = [Steps(job.data.train, recipe, seed=0) for job in (bare, cached)]
    files, cache = (speed(lambda steps=steps: list(batches(steps, 0, count)), size * count) for steps in loaded)
    trainer, batch = new_trainer(cached, None), next(batches(loaded[1], 0, 1))
    model = median(speed(lambda: trainer.step(batch), size) for _ in range(options.rounds))
    return f"files {files:.0f}, cache {cache:.0f}, training step {model:.0f}"


def speed(work: Callable[[], object], images: int) -> float:
    began = perf_counter()
    work()
    return images / (perf_counter() - began)


def epoch(options: argparse.Namespace) -> None:
    """Both sides' seconds for an epoch; the first epoch, in which our cache is empty, apart."""
    with photographs(options) as folder, ExitStack() as stack:
        sides = {who: stack.enter_context(side(who, folder, options)) for who in ("timm", "ours")}
        first = {who: run() for who, run in sides.items()}
        times: dict[str, list[float]] = {who: [] for who in sides}
        for i in range(options.rounds):
            for who in sorted(sides, reverse=bool(i % 2)):
                times[who].append(sides[who]())
    ratios = [theirs / ours for theirs, ours in zip(times["timm"], times["ours"], strict=True)]
    low, high = np.percentile(ratios, [10, 90])
    print(
        f"width {options.width} at {EPOCH.image_size} pixels, {options.photos} photographs: first epoch timm "
        f"{first['timm']:.1f} s, ours {first['ours']:.1f} s; later ones (n = {options.rounds}) timm "
        f"{median(times['timm']):.1f} s, ours {median(times['ours']):.1f} s, ratio {median(ratios):.2f} "
        f"({low:.2f}-{high:.2f})"
    )


@contextmanager
def side(who: str, folder: Path, options: argparse.Namespace) -> Iterator[Callable[[], float]]:
    """A process that trains for an epoch whenever it is asked to, and says how long that took."""
    command = [sys.executable, __file__, "_serve", "--who", who, "--data", str(folder)]
    command += ["--width", str(options.width), "--workers", str(options.workers)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        requests, answers = process.stdin, process.stdout

        def seconds() -> float:
            requests.write("go\n")
            requests.flush()
            return float(json.loads(answers.readline()))

        yield seconds
        requests.close()


def serve(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as results:
        run = {"ours": our_epochs, "timm": timm_epochs}[options.who](options, Path(results))
        for _ in sys.stdin:
            began = perf_counter()
            next(run)
            print(json.dumps(perf_counter() - began), flush=True)


def our_epochs(options: argparse.Namespace, results: Path) -> Iterator[None]:
    keep_freed_memory()
    job = job_on(options.data, EPOCH, options.width, results)
    trainer = new_trainer(job, None)
    loaded = batches(Steps(job.data.train, EPOCH, seed=0), 0, job.plan.steps)
    while True:
        for batch in islice(loaded, job.plan.steps_per_epoch):
            trainer.step(batch)
        yield


def timm_epochs(options: argparse.Namespace, results: Path) -> Iterator[None]:
    """What a user of timm would write."""
    model = timm_network(options.width).to(memory_format=torch.channels_last)
    import timm.data

    transform = timm.data.create_transform(
        EPOCH.image_size, is_training=True, scale=(EPOCH.crop_area, 1), hflip=0.5, color_jitter=0, mean=(0, 0, 0),
        std=(1, 1, 1), interpolation="bicubic",
    )  # fmt: skip
    images = timm.data.ImageDataset(str(options.data / "train"), transform=transform)
    loaded = torch.utils.data.DataLoader(
        images, batch_size=EPOCH.batch_size, shuffle=True, num_workers=options.workers, persistent_workers=True
    )
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-3, fused=True)
    while True:
        for x, labels in loaded:
            x = x.contiguous(memory_format=torch.channels_last)
            optimizer.zero_grad()
            F.cross_entropy(model(x), labels, label_smoothing=0.1).backward()
            optimizer.step()
        yield


def timm_network(width: float) -> nn.Module:
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from others import of_timm  # with the stubs that timm needs beside a torch for the CPU alone

    return of_timm(ArchConfig.mobilevitv2(width), 2)


if __name__ == "__main__":
    main()
