"""Images to train on, to select by and to confirm with, and how they enter a network."""

from mvit2_search.data.dataset import Dataset, Split
from mvit2_search.data.fashion_mnist import FASHION_MNIST_MINI
from mvit2_search.data.load import load_dataset, load_images
from mvit2_search.data.transforms import to_input

__all__ = ["FASHION_MNIST_MINI", "Dataset", "Split", "load_dataset", "load_images", "to_input"]
