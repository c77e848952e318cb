"""CIFAR-10, from the binary version: six files of records of one label byte and 3072 pixel bytes.

Source: https://www.cs.toronto.edu/~kriz/cifar.html (A. Krizhevsky, 2009).
"""

import os
import shutil
import tarfile
import zlib
from pathlib import Path

import numpy as np

from .dataset import Dataset
from .download import download as fetch
from .folders import DataError, cache_folder

URLS = ["https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"]
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
FOLDER = "cifar-10-batches-bin"
TRAIN_FILES = [f"data_batch_{i}.bin" for i in range(1, 6)]
TEST_FILES = ["test_batch.bin"]
FILES = TRAIN_FILES + TEST_FILES
RECORDS = 10_000  # in each file
SHAPE = (3, 32, 32)  # red, green, blue planes, each row by row
RECORD_BYTES = 1 + 3 * 32 * 32
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def load_cifar10(folder=None, download=False):
    """Read CIFAR-10.

    Parameters
    ----------
    folder : path-like, optional
        The folder that contains ``cifar-10-batches-bin``, or that folder itself; `cache_folder` by default.
    download : bool
        Fetch and unpack the archive (162 MB) into that place if any of the six files is missing there or has the
        wrong size. The archive is kept beside the unpacked folder. Without `download` nothing is ever fetched.

    Returns
    -------
    Dataset
        Images (50000, 3, 32, 32) and (10000, 3, 32, 32), uint8. The description is ``"CIFAR-10"``, or
        ``"CIFAR-10 (JPEG-compressed)"`` when the pixels give that away.

    Raises
    ------
    DataError
        If files are missing, have the wrong length, or hold a label above 9, or if the download fails.
    """
    folder = batch_folder(cache_folder() if folder is None else Path(folder))
    if download and not all(is_complete(folder / name) for name in FILES):
        archive = folder.parent / "cifar-10-binary.tar.gz"
        fetch(URLS, archive, MD5, "CIFAR-10")
        unpack(archive, folder)
    return read_folder(folder, RECORDS)


def looks_jpeg_compressed(images):
    """Tell whether pictures went through JPEG compression after they got their present size.

    JPEG rounds the cosine coefficients of every 8x8 block, most of the high frequencies to zero, and the decoded
    pixels keep these near-zeros. So do smooth pictures, but on any grid of blocks; the footprint of JPEG shows
    only on its own grid. The answer is yes when near-zeros are more frequent on that grid than on one shifted by
    four pixels, by over 0.25 of all high-frequency coefficients. Photographs measured with downscaled originals:
    below 0.02 uncompressed; 0.27 to 0.67 for JPEG quality 95 to 30.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, 3, H, W)
        Colour pictures, H and W at least 16; a thousand of them decide safely.

    Returns
    -------
    bool
    """
    luminance = np.tensordot(images, np.float32([0.299, 0.587, 0.114]), axes=(1, 0))
    on_grid = near_zero_fraction(luminance)
    off_grid = near_zero_fraction(luminance[:, 4:-4, 4:-4])
    return bool(on_grid - off_grid > 0.25)


def near_zero_fraction(planes):
    """Return which part of the high-frequency cosine coefficients of 8x8 blocks lies within 0.5 of zero."""
    count, height, width = planes.shape
    k = np.arange(8)
    cosines = np.cos(np.pi / 8 * k[:, None] * (k + 0.5)) / 2
    cosines[0] /= np.sqrt(2)  # now the rows are orthonormal
    blocks = planes[:, : height // 8 * 8, : width // 8 * 8].reshape(count, height // 8, 8, width // 8, 8)
    coefficients = cosines @ blocks.swapaxes(2, 3) @ cosines.T
    high = k[:, None] + k >= 8
    return np.mean(np.abs(coefficients[..., high]) < 0.5)


def batch_folder(folder):
    """Return where the six files are or should be: `folder` itself, or the archive's folder inside it."""
    is_it = folder.name == FOLDER or any((folder / name).exists() for name in FILES)
    return folder if is_it else folder / FOLDER


def is_complete(path):
    """Tell whether a batch file is there with its full size."""
    return path.is_file() and path.stat().st_size == RECORDS * RECORD_BYTES


def unpack(archive, folder):
    """Take the batch files that `folder` lacks out of the archive; nothing else in it is looked at."""
    wanted = {f"{FOLDER}/{name}": folder / name for name in FILES if not is_complete(folder / name)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                if member.isfile() and member.name in wanted:
                    # Only the bytes are taken; the path to write is ours, whatever the archive says.
                    path = wanted.pop(member.name)
                    part = path.with_name(path.name + ".part")
                    with tar.extractfile(member) as source, open(part, "wb") as file:
                        shutil.copyfileobj(source, file)
                    os.replace(part, path)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DataError(f"{archive} could not be unpacked into {folder} ({error}); delete it and try again") from error
    if wanted:
        raise DataError(f"{archive} does not contain {', '.join(wanted)}; delete it and try again")


def read_folder(folder, records):
    """Read the six batch files of `records` records each."""
    if not folder.is_dir():
        raise DataError(
            f"CIFAR-10 is not at {folder}: set MINIGRAD_DATA to the folder that contains {FOLDER}, "
            "call load_cifar10(download=True) to fetch it (162 MB), or run the lessons with --data synthetic"
        )
    train = [read_batch(folder / name, records) for name in TRAIN_FILES]
    test = [read_batch(folder / name, records) for name in TEST_FILES]
    train_images, train_labels = (np.concatenate(parts) for parts in zip(*train, strict=True))
    test_images, test_labels = (np.concatenate(parts) for parts in zip(*test, strict=True))
    description = "CIFAR-10 (JPEG-compressed)" if looks_jpeg_compressed(train_images[:1000]) else "CIFAR-10"
    return Dataset(train_images, train_labels, test_images, test_labels, CLASS_NAMES, description)


def read_batch(path, records):
    """Read one batch file; return images, uint8 (records, 3, 32, 32), and labels, int64 (records,)."""
    try:
        content = np.fromfile(path, np.uint8)
    except FileNotFoundError:
        raise DataError(
            f"{path} is missing: call load_cifar10(download=True) to fetch it, or copy it there by hand"
        ) from None
    except OSError as error:
        raise DataError(f"{path} could not be read: {error}") from error
    expected = records * RECORD_BYTES
    if content.size != expected:
        raise DataError(
            f"{path} is damaged: expected {expected:,} bytes, got {content.size:,}; delete it and fetch it again"
        )
    table = content.reshape(records, RECORD_BYTES)
    labels = table[:, 0].astype(np.int64)
    bad = np.flatnonzero(labels >= len(CLASS_NAMES))
    if bad.size:
        raise DataError(
            f"{path} is damaged: record {bad[0]} (counted from 0) has label {labels[bad[0]]}, "
            f"labels go from 0 to {len(CLASS_NAMES) - 1}; delete it and fetch it again"
        )
    return table[:, 1:].reshape(records, *SHAPE), labels
