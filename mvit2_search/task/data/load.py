"""A data set by name or by folder."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mvit2_search.errors import DataError
from mvit2_search.task.data.dataset import Dataset
from mvit2_search.task.data.fashion_mnist import (
    FASHION_MNIST_MINI,
    first_of_fashion_mnist_mini,
    load_fashion_mnist_mini,
)
from mvit2_search.task.data.folder import first_of_folder, load_folder

_PACKED = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar", ".zst")


def load_dataset(name_or_folder: str, *, image_size: int, max_train: int, results: Iterable[Path] = ()) -> Dataset:
    """Load `fashion-mnist-mini` or a folder with one sub-folder of images per class.

    Args:
        image_size: side in pixels that every image is scaled and cropped to.
        max_train: of a larger folder, read only so many training images.
        results: folders of studies, which may lie among the images and hold none.

    Raises:
        DataError: there are no such images, or they cannot be used.
    """
    if name_or_folder == FASHION_MNIST_MINI:
        return load_fashion_mnist_mini(image_size)
    return load_folder(_folder(name_or_folder), image_size=image_size, max_train=max_train, results=results)


def load_images(name_or_folder: str, *, image_size: int, count: int, results: Iterable[Path] = ()) -> np.ndarray:
    """The first `count` images that a search would select by, uint8 [N, S, S, 1 or 3], and no others.

    Raises:
        DataError: there are no such images, or they cannot be used.
    """
    if name_or_folder == FASHION_MNIST_MINI:
        return first_of_fashion_mnist_mini(image_size, count)
    return first_of_folder(_folder(name_or_folder), image_size=image_size, count=count, results=results)


def _folder(name: str) -> Path:
    folder = Path(name)
    if folder.is_file():
        packed = folder.suffix.lower() in _PACKED
        what = "unpack it and give the folder" if packed else "give the folder of the classes"
        raise DataError(f"{folder}: is a file; {what}")
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder, and the one shipped data set is {FASHION_MNIST_MINI}")
    return folder
