"""Pictures to learn from: CIFAR-10, MNIST and a synthetic set, with whitening and minibatches.

Everything here works on plain NumPy arrays. Importing this package reads no file and opens no connection;
a data set is downloaded only when ``download=True`` says so.
"""

from .batches import batches
from .cifar10 import load_cifar10, looks_jpeg_compressed
from .dataset import Dataset
from .download import download
from .folders import DataError, cache_folder
from .mnist import load_mnist
from .synthetic import synthetic_pictures
from .whitening import ZCA, scale_pixels, zca_cached

__all__ = [
    "ZCA",
    "DataError",
    "Dataset",
    "batches",
    "cache_folder",
    "download",
    "load_cifar10",
    "load_mnist",
    "looks_jpeg_compressed",
    "scale_pixels",
    "synthetic_pictures",
    "zca_cached",
]
