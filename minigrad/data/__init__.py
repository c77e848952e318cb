"""Pictures to train on: CIFAR-10, MNIST, Fashion-MNIST and two synthetic sets, with whitening and minibatches.

Images and labels are plain NumPy arrays in a `Dataset`. Importing this package reads no file and opens no connection;
a data set is downloaded only where you write ``download=True``.
"""

from minigrad.data.cifar10 import load_cifar10
from minigrad.data.dataset import DataError, Dataset
from minigrad.data.digits import synthetic_digits
from minigrad.data.folders import cache_folder
from minigrad.data.jpeg import looks_jpeg_compressed
from minigrad.data.minibatches import batches
from minigrad.data.mnist import load_fashion_mnist, load_mnist
from minigrad.data.synthetic import synthetic_pictures
from minigrad.data.verified_download import download
from minigrad.data.whitening import ZCA, scale_pixels, zca_cached

__all__ = [
    "ZCA",
    "DataError",
    "Dataset",
    "batches",
    "cache_folder",
    "download",
    "load_cifar10",
    "load_fashion_mnist",
    "load_mnist",
    "looks_jpeg_compressed",
    "scale_pixels",
    "synthetic_digits",
    "synthetic_pictures",
    "zca_cached",
]
