"""MNIST, from its four gzip-compressed IDX files: a big-endian header, then one byte per pixel or label.

Source: Y. LeCun, C. Cortes, C. Burges, http://yann.lecun.com/exdb/mnist/, which also describes the format.
"""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from .dataset import Dataset
from .download import download as fetch
from .folders import DataError, cache_folder

MIRRORS = ["https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"]
TRAIN_IMAGES = "train-images-idx3-ubyte.gz"
TRAIN_LABELS = "train-labels-idx1-ubyte.gz"
TEST_IMAGES = "t10k-images-idx3-ubyte.gz"
TEST_LABELS = "t10k-labels-idx1-ubyte.gz"
MD5 = {  # of the unpacked contents: the same files are about with different gzip packing
    TRAIN_IMAGES: "6bbc9ace898e44ae57da46a324031adb",
    TRAIN_LABELS: "a25bea736e30d166cdddb491f175f624",
    TEST_IMAGES: "2646ac647ad5339dbf082846283269ea",
    TEST_LABELS: "27ae3e4e09519cfbb04c329615203637",
}
TRAIN, TEST = 60_000, 10_000  # records
SIDE = 28  # pixels
CLASSES = 10


def load_mnist(folder=None, download=False):
    """Read MNIST.

    Parameters
    ----------
    folder : path-like, optional
        The folder that contains ``mnist``, or the folder with the four ``.gz`` files itself; `cache_folder` by
        default.
    download : bool
        Fetch (11 MB) what is missing or does not have the official checksum. Without it nothing is ever fetched.

    Returns
    -------
    Dataset
        Images (60000, 1, 28, 28) and (10000, 1, 28, 28), uint8, light strokes on black.

    Raises
    ------
    DataError
        If files are missing, damaged or inconsistent, or if the download fails.
    """
    folder = file_folder(cache_folder() if folder is None else Path(folder))
    if download:
        for name, md5 in MD5.items():
            fetch([mirror + name for mirror in MIRRORS], folder / name, md5, f"MNIST {name}", gzipped=True)
    return read_folder(folder, TRAIN, TEST)


def file_folder(folder):
    """Return where the four files are or should be: `folder` itself, or ``mnist`` inside it."""
    is_it = folder.name == "mnist" or any((folder / name).exists() for name in MD5)
    return folder if is_it else folder / "mnist"


def read_folder(folder, train, test):
    """Read the four files of `train` and `test` records."""
    if not folder.is_dir():
        raise DataError(
            f"MNIST is not at {folder}: set MINIGRAD_DATA to the folder that contains mnist, "
            "call load_mnist(download=True) to fetch it (11 MB), or run the lessons with --data synthetic"
        )
    return Dataset(
        read_idx(folder / TRAIN_IMAGES, (train, SIDE, SIDE)).reshape(train, 1, SIDE, SIDE),
        read_labels(folder / TRAIN_LABELS, train),
        read_idx(folder / TEST_IMAGES, (test, SIDE, SIDE)).reshape(test, 1, SIDE, SIDE),
        read_labels(folder / TEST_LABELS, test),
        tuple("0123456789"),
        "MNIST",
    )


def read_labels(path, count):
    """Read a label file; return int64 (count,)."""
    labels = read_idx(path, (count,)).astype(np.int64)
    bad = np.flatnonzero(labels >= CLASSES)
    if bad.size:
        raise DataError(
            f"{path} is damaged: record {bad[0]} (counted from 0) has label {labels[bad[0]]}, "
            f"labels go from 0 to {CLASSES - 1}; delete it and fetch it again"
        )
    return labels


def read_idx(path, shape):
    """Read an IDX file of unsigned bytes that must have the given shape; return a writable uint8 array."""
    try:
        content = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise DataError(
            f"{path} is missing: call load_mnist(download=True) to fetch it, or copy it there by hand"
        ) from None
    except (OSError, EOFError, zlib.error) as error:  # gzip reports damage in three ways
        raise DataError(f"{path} could not be read: {error}; delete it and fetch it again") from error

    # Magic number: two zero bytes, 8 for unsigned bytes, the number of axes; then the length of each axis.
    header = struct.pack(f">{1 + len(shape)}I", 0x0800 + len(shape), *shape)
    if content[: len(header)] != header:
        raise DataError(
            f"{path} is damaged: its IDX header should be {header.hex(' ', 4)} for bytes of shape {shape}, "
            f"got {content[: len(header)].hex(' ', 4) or 'nothing'}; delete it and fetch it again"
        )
    expected, got = int(np.prod(shape)), len(content) - len(header)
    if got != expected:
        raise DataError(
            f"{path} is damaged: expected {expected:,} bytes after the header, got {got:,}; "
            "delete it and fetch it again"
        )
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape).copy()
