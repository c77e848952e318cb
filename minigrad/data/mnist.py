"""load_mnist: 70,000 handwritten digits, small enough for a first network.

It reads the four gzip-compressed IDX files: a big-endian header, then one byte per pixel or label.

Source: Y. LeCun, C. Cortes, C. Burges, http://yann.lecun.com/exdb/mnist/, which also describes the format.
"""

import gzip
import math
import os
import struct
import zlib

import numpy

from minigrad.data import verified_download
from minigrad.data.dataset import DataError, Dataset, checked_labels, refuse_what_is_no_file
from minigrad.data.folders import data_folder

MIRRORS = ["https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"]
FOLDER = "mnist"
TRAIN_IMAGES = "train-images-idx3-ubyte.gz"
TRAIN_LABELS = "train-labels-idx1-ubyte.gz"
TEST_IMAGES = "t10k-images-idx3-ubyte.gz"
TEST_LABELS = "t10k-labels-idx1-ubyte.gz"
MD5 = {  # of the unpacked contents, which mirrors compress differently
    TRAIN_IMAGES: "6bbc9ace898e44ae57da46a324031adb",
    TRAIN_LABELS: "a25bea736e30d166cdddb491f175f624",
    TEST_IMAGES: "2646ac647ad5339dbf082846283269ea",
    TEST_LABELS: "27ae3e4e09519cfbb04c329615203637",
}
TRAIN, TEST = 60_000, 10_000  # records
SIDE = 28  # pixels
CLASSES = 10


def load_mnist(folder: str | os.PathLike[str] | None = None, download: bool = False) -> Dataset:
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
    folder = data_folder(folder, FOLDER, MD5)
    if download:
        for name, md5 in MD5.items():
            urls = [mirror + name for mirror in MIRRORS]
            verified_download.download(urls, folder / name, md5, f"MNIST {name}", gzipped=True)
    return read_folder(folder, TRAIN, TEST)


def read_folder(folder, train, test):
    """The set in four files of `train` and `test` records."""
    if not folder.is_dir():
        raise DataError(
            f"MNIST is not at {folder}: set MINIGRAD_DATA to the folder that contains {FOLDER}, "
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
    """The labels (count,), int64, of one file."""
    return checked_labels(read_idx(path, (count,)), CLASSES, path)


def read_idx(path, shape):
    """The unsigned bytes of an IDX file that must have the given shape, as a writable uint8 array."""
    try:
        refuse_what_is_no_file(path)
        content = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise DataError(
            f"{path} is missing: call load_mnist(download=True) to fetch it, or copy it there by hand"
        ) from None
    except (OSError, EOFError, zlib.error) as error:  # gzip reports damage in three ways
        raise DataError(f"{path} could not be read: {error}; delete it and fetch it again") from error

    # Magic number: two zero bytes, 8 for unsigned bytes, the number of axes; then the length of each axis.
    header = struct.pack(f">{1 + len(shape)}I", 0x0800 + len(shape), *shape)
    start, body = content[: len(header)], content[len(header) :]
    if start != header:
        raise DataError(
            f"{path} is damaged: its IDX header should be {header.hex(' ', 4)} for bytes of shape {shape}, "
            f"got {start.hex(' ', 4) or 'nothing'}; delete it and fetch it again"
        )
    if len(body) != math.prod(shape):
        raise DataError(
            f"{path} is damaged: expected {math.prod(shape):,} bytes after the header, got {len(body):,}; "
            "delete it and fetch it again"
        )
    return numpy.frombuffer(bytearray(body), numpy.uint8).reshape(shape)
