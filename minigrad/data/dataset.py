"""Dataset: what every loader returns. DataError: what every loader raises."""

from dataclasses import dataclass, field

import numpy


class DataError(Exception):
    """Data that is missing, damaged or out of reach.

    The message is one line that says what is wrong and what to do, fit to be shown without a traceback.
    """


@dataclass(frozen=True, eq=False)  # == of two arrays is an array, so two sets have no single answer
class Dataset:
    """Labelled pictures, split into training and test set.

    Attributes
    ----------
    train_images, test_images : ndarray of uint8, shape (N, C, H, W)
        Pixel values from 0 to 255; the channels of colour pictures are red, green, blue.
    train_labels, test_labels : ndarray of int64, shape (N,)
        Indices into `class_names`.
    class_names : tuple of str
        One name per class.
    description : str
        A short phrase to put on figures, such as ``"CIFAR-10"``.
    """

    train_images: numpy.ndarray = field(repr=False)
    train_labels: numpy.ndarray = field(repr=False)
    test_images: numpy.ndarray = field(repr=False)
    test_labels: numpy.ndarray = field(repr=False)
    class_names: tuple[str, ...]
    description: str


def refuse_what_is_no_file(path):
    """DataError if there is a folder, a pipe or a device at `path`. Reading a pipe would wait, for ever perhaps."""
    if path.exists() and not path.is_file():
        raise DataError(f"{path} is not a file; remove it and fetch the file again")


def checked_labels(labels, classes, path):
    """The label bytes of the file `path` as int64; DataError unless they run from 0 to `classes` - 1."""
    bad = numpy.flatnonzero(labels >= classes)
    if bad.size:
        raise DataError(
            f"{path} is damaged: record {bad[0]} (counted from 0) has label {labels[bad[0]]}, "
            f"labels go from 0 to {classes - 1}; delete it and fetch it again"
        )
    return labels.astype(numpy.int64)
