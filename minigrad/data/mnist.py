"""load_mnist, load_fashion_mnist: 70,000 handwritten digits, or as many pieces of clothing, small and gray.

Both are four gzip-compressed IDX files of the same names: a big-endian header, then one byte per pixel or label.

Sources: Y. LeCun, C. Cortes, C. Burges, http://yann.lecun.com/exdb/mnist/, which also describes the format;
H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms",
2017, arXiv:1708.07747.
"""

import gzip
import math
import os
import struct
import zlib
from dataclasses import dataclass

import numpy

from minigrad.data import verified_download
from minigrad.data.dataset import DataError, Dataset, checked_labels, refuse_what_is_no_file
from minigrad.data.folders import data_folder

TRAIN_IMAGES = "train-images-idx3-ubyte.gz"
TRAIN_LABELS = "train-labels-idx1-ubyte.gz"
TEST_IMAGES = "t10k-images-idx3-ubyte.gz"
TEST_LABELS = "t10k-labels-idx1-ubyte.gz"
TRAIN, TEST = 60_000, 10_000  # records
SIDE = 28  # pixels
CLASSES = 10


@dataclass(frozen=True)
class Source:
    """A set in this format, and where it comes from."""

    name: str
    loader: str
    folder: str
    class_names: tuple[str, ...]
    mirrors: tuple[str, ...]
    md5: dict[str, str]
    of_contents: bool  # whether `md5` is that of the unpacked contents, for mirrors that compress differently
    megabytes: int


MNIST = Source(
    "MNIST",
    "load_mnist",
    "mnist",
    tuple("0123456789"),
    ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
    {
        TRAIN_IMAGES: "6bbc9ace898e44ae57da46a324031adb",
        TRAIN_LABELS: "a25bea736e30d166cdddb491f175f624",
        TEST_IMAGES: "2646ac647ad5339dbf082846283269ea",
        TEST_LABELS: "27ae3e4e09519cfbb04c329615203637",
    },
    of_contents=True,
    megabytes=11,
)
FASHION_MNIST = Source(
    "Fashion-MNIST",
    "load_fashion_mnist",
    "fashion-mnist",
    ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"),
    (
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
    {
        TRAIN_IMAGES: "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        TRAIN_LABELS: "25c81989df183df01b3e8a0aad5dffbe",
        TEST_IMAGES: "bef4ecab320f06d8554ea6380940ec79",
        TEST_LABELS: "bb300cfdad3c16e7a12a480ee83cd310",
    },
    of_contents=False,
    megabytes=31,
)


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
    return _load(MNIST, folder, download)


def load_fashion_mnist(folder: str | os.PathLike[str] | None = None, download: bool = False) -> Dataset:
    """Read Fashion-MNIST: the format and the numbers of MNIST, with clothes in place of digits (Xiao et al. 2017).

    Parameters
    ----------
    folder : path-like, optional
        The folder that contains ``fashion-mnist``, or the folder with the four ``.gz`` files itself; `cache_folder` by
        default.
    download : bool
        Fetch (31 MB) what is missing or does not have the official checksum. Without it nothing is ever fetched.

    Returns
    -------
    Dataset
        Images (60000, 1, 28, 28) and (10000, 1, 28, 28), uint8, light clothes on black.

    Raises
    ------
    DataError
        If files are missing, damaged or inconsistent, or if the download fails.
    """
    return _load(FASHION_MNIST, folder, download)


def _load(source, folder, download):
    folder = data_folder(folder, source.folder, source.md5)
    if download:
        for name, md5 in source.md5.items():
            urls = [mirror + name for mirror in source.mirrors]
            what = f"{source.name} {name}"
            verified_download.download(urls, folder / name, md5, what, gzipped=source.of_contents)
    return read_folder(folder, TRAIN, TEST, source)


def read_folder(folder, train, test, source=MNIST):
    """The set in four files of `train` and `test` records."""
    if not folder.is_dir():
        raise DataError(
            f"{source.name} is not at {folder}: set MINIGRAD_DATA to the folder that contains {source.folder}, "
            f"call {source.loader}(download=True) to fetch it ({source.megabytes} MB), or run the lessons with "
            "--data synthetic"
        )
    return Dataset(
        read_idx(folder / TRAIN_IMAGES, (train, SIDE, SIDE), source).reshape(train, 1, SIDE, SIDE),
        read_labels(folder / TRAIN_LABELS, train, source),
        read_idx(folder / TEST_IMAGES, (test, SIDE, SIDE), source).reshape(test, 1, SIDE, SIDE),
        read_labels(folder / TEST_LABELS, test, source),
        source.class_names,
        source.name,
    )


def read_labels(path, count, source=MNIST):
    """The labels (count,), int64, of one file."""
    return checked_labels(read_idx(path, (count,), source), CLASSES, path)


def read_idx(path, shape, source=MNIST):
    """The unsigned bytes of an IDX file that must have the given shape, as a writable uint8 array."""
    try:
        refuse_what_is_no_file(path)
        content = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise DataError(
            f"{path} is missing: call {source.loader}(download=True) to fetch it, or copy it there by hand"
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
