"""What every loader returns."""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, eq=False)  # eq=False: comparing arrays with == has no single answer
class Dataset:
    """Labelled pictures, split into training and test set.

    Attributes
    ----------
    train_images, test_images : ndarray of uint8, shape (N, C, H, W)
        Pixel values from 0 to 255; for colour pictures the channels are red, green, blue.
    train_labels, test_labels : ndarray of int64, shape (N,)
        Indices into `class_names`.
    class_names : tuple of str
        One name per class.
    description : str
        A short phrase to put on figures, such as ``"CIFAR-10"``.
    """

    train_images: np.ndarray = field(repr=False)
    train_labels: np.ndarray = field(repr=False)
    test_images: np.ndarray = field(repr=False)
    test_labels: np.ndarray = field(repr=False)
    class_names: tuple[str, ...]
    description: str
