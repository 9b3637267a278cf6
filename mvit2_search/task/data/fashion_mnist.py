"""`fashion-mnist-mini`: 18,000 images of Fashion-MNIST that come with this package.

Per class 800 images to train on and 500 to select by, from Fashion-MNIST's training images, and 500 to confirm
with, from its test images. `scripts/build_fashion_mnist_mini.py` builds the files. Licence:
fashion_mnist_mini/NOTICE.
"""

import bz2
import hashlib
import io
from pathlib import Path

import numpy as np
from PIL import Image

from mvit2_search.task.data.dataset import Dataset, Split
from mvit2_search.task.data.images import pixel_array

FASHION_MNIST_MINI = "fashion-mnist-mini"
CLASSES = (
    *("t-shirt", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle-boot"),
)
TRAIN, SELECTION, CONFIRMATION = 8_000, 5_000, 5_000
FOLDER = Path(__file__).parent / "fashion_mnist_mini"


def load_fashion_mnist_mini(image_size: int) -> Dataset:
    """With its 28 x 28 images scaled to `image_size`."""
    packed = [(FOLDER / f"{name}.npy.bz2").read_bytes() for name in ("images", "labels")]
    images_NSS, labels_N = map(_unpacked, packed)
    pixels_NSSC = _scaled(images_NSS, image_size)
    bounds = [TRAIN, TRAIN + SELECTION]
    parts = zip(np.split(pixels_NSSC, bounds), np.split(labels_N.astype(np.int64), bounds), strict=True)
    train, selection, confirmation = (Split(pixels_NSSC=pixels, labels_N=labels) for pixels, labels in parts)
    return Dataset(
        name=FASHION_MNIST_MINI,
        classes=CLASSES,
        train=train,
        selection=selection,
        confirmation=confirmation,
        fingerprint=hashlib.sha256(b"".join(packed)).hexdigest()[:16],
    )


def first_of_fashion_mnist_mini(image_size: int, count: int) -> np.ndarray:
    """The first `count` selection images, uint8 [N, S, S, 1]; no other is scaled."""
    images_NSS = _unpacked((FOLDER / "images.npy.bz2").read_bytes())
    return _scaled(images_NSS[TRAIN : TRAIN + count], image_size)


def _unpacked(data: bytes) -> np.ndarray:
    array: np.ndarray = np.load(io.BytesIO(bz2.decompress(data)))
    return array


def _scaled(images_NSS: np.ndarray, size: int) -> np.ndarray:
    pixels_NSSC = pixel_array(len(images_NSS), size, 1, name=FASHION_MNIST_MINI)
    for image_SS, out_SSC in zip(images_NSS, pixels_NSSC, strict=True):
        out_SSC[..., 0] = Image.fromarray(image_SS).resize((size, size), Image.Resampling.BILINEAR)
    return pixels_NSSC
