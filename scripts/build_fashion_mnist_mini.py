"""Build the shipped `fashion-mnist-mini` from the official Fashion-MNIST files, byte for byte.

    python scripts/build_fashion_mnist_mini.py /usr/share/datasets/fashion-mnist

The folder holds the four official files (`train-images-idx3-ubyte.gz` and so on); Debian's package
`dataset-fashion-mnist` installs them there. Which images are taken depends on nothing but their
position in those files, and bzip2 has one encoder, so the result is the same on every machine.
"""

import argparse
import bz2
import gzip
import hashlib
import io
from pathlib import Path

import numpy as np

from mvit2_search.task.data.load import CLASSES, CONFIRMATION, FOLDER, SELECTION, TRAIN

_HEADER_BYTES = {"images-idx3": 16, "labels-idx1": 8}
_SHA256 = {  # of the uncompressed official files
    "train-images-idx3": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder with the four official .gz files")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder to write to (default: the package)")
    options = parser.parse_args()
    images, labels = build(options.source)
    options.output.mkdir(parents=True, exist_ok=True)
    for name, array in (("images", images), ("labels", labels)):
        packed = bz2.compress(_npy(array), 9)
        (options.output / f"{name}.npy.bz2").write_bytes(packed)
        print(f"{name}.npy.bz2: {array.shape}, {len(packed):,} bytes, sha256 {hashlib.sha256(packed).hexdigest()}")


def build(source: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images [18000, 28, 28] and labels [18000], training, selection and confirmation in this order."""
    train_images, train_labels = _official(source, "train")
    test_images, test_labels = _official(source, "t10k")
    train, selection = _stratified("train", train_labels, (TRAIN, SELECTION))
    (confirmation,) = _stratified("t10k", test_labels, (CONFIRMATION,))
    images = np.concatenate([train_images[train], train_images[selection], test_images[confirmation]])
    labels = np.concatenate([train_labels[train], train_labels[selection], test_labels[confirmation]])
    return images, labels


def _stratified(part: str, labels: np.ndarray, sizes: tuple[int, ...]) -> list[list[int]]:
    """For each size, indices with equally many of every class, the classes in turn; no index twice."""
    order = sorted(range(len(labels)), key=lambda i: _shuffled(part, i))
    by_class = [[i for i in order if labels[i] == c] for c in range(len(CLASSES))]
    chosen, start = [], 0
    for size in sizes:
        end = start + size // len(CLASSES)
        chosen.append([members[k] for k in range(start, end) for members in by_class])
        start = end
    return chosen


def _shuffled(part: str, index: int) -> bytes:
    return hashlib.sha256(f"fashion-mnist-mini {part} {index}".encode()).digest()


def _official(source: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    images, labels = (_payload(source, f"{part}-{kind}") for kind in _HEADER_BYTES)
    return images.reshape(-1, 28, 28), labels


def _payload(source: Path, name: str) -> np.ndarray:
    data = gzip.decompress((source / f"{name}-ubyte.gz").read_bytes())
    if hashlib.sha256(data).hexdigest() != _SHA256[name]:
        raise SystemExit(f"{source / name}-ubyte.gz is not the official file")
    return np.frombuffer(data, np.uint8, offset=_HEADER_BYTES[name.split("-", 1)[1]])


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=(1, 0))
    return buffer.getvalue()


if __name__ == "__main__":
    main()
