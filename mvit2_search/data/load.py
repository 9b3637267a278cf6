"""A data set by name or by folder."""

from pathlib import Path

from mvit2_search.data.dataset import Dataset
from mvit2_search.data.fashion_mnist import FASHION_MNIST_MINI, load_fashion_mnist_mini
from mvit2_search.data.folder import load_folder
from mvit2_search.errors import DataError


def load_dataset(name_or_folder: str, *, image_size: int, max_train: int) -> Dataset:
    """Load `fashion-mnist-mini` or a folder with one sub-folder of images per class.

    Args:
        image_size: side in pixels that every image is scaled and cropped to.
        max_train: of a larger folder, read only so many training images.

    Raises:
        DataError: there are no such images, or they cannot be used.
    """
    if name_or_folder == FASHION_MNIST_MINI:
        return load_fashion_mnist_mini(image_size)
    folder = Path(name_or_folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder, and the one shipped data set is {FASHION_MNIST_MINI}")
    return load_folder(folder, image_size=image_size, max_train=max_train)
