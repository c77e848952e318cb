"""load_cifar10: 60,000 colour pictures of ten kinds of things, those of the paper's section 5.1.

It reads the binary version: six files of records, each one label byte and 3072 pixel bytes.

Source: https://www.cs.toronto.edu/~kriz/cifar.html (A. Krizhevsky, 2009).
"""

import os
import shutil
import tarfile
import zlib

import numpy

from minigrad.data import verified_download
from minigrad.data.dataset import DataError, Dataset, checked_labels, refuse_what_is_no_file
from minigrad.data.folders import data_folder
from minigrad.data.jpeg import looks_jpeg_compressed
from minigrad.saving import replacing

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


def load_cifar10(folder: str | os.PathLike[str] | None = None, download: bool = False) -> Dataset:
    """Read CIFAR-10.

    Parameters
    ----------
    folder : path-like, optional
        The folder that contains ``cifar-10-batches-bin``, or that folder itself; `cache_folder` by default.
    download : bool
        Fetch and unpack the archive (162 MB) there if any of the six files is missing or has the wrong size. The
        archive is kept beside the unpacked folder. Without `download` nothing is ever fetched.

    Returns
    -------
    Dataset
        Images (50000, 3, 32, 32) and (10000, 3, 32, 32), uint8. The description is ``"CIFAR-10"``, or
        ``"CIFAR-10 (JPEG-compressed)"`` if the pixels give that away.

    Raises
    ------
    DataError
        If files are missing, have the wrong length, or hold a label above 9, or if the download fails.
    """
    folder = data_folder(folder, FOLDER, FILES)
    if download and not all(_is_complete(folder / name) for name in FILES):
        archive = folder.parent / "cifar-10-binary.tar.gz"
        verified_download.download(URLS, archive, MD5, "CIFAR-10")
        unpack(archive, folder)
    return read_folder(folder, RECORDS)


def unpack(archive, folder):
    """Unpack the files that `folder` lacks; nothing else in the archive is touched."""
    wanted = {f"{FOLDER}/{name}": folder / name for name in FILES if not _is_complete(folder / name)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                if member.isfile() and member.name in wanted:
                    # Only the bytes are taken: where they are written is our choice, whatever the archive says.
                    with tar.extractfile(member) as source, replacing(wanted.pop(member.name)) as file:
                        shutil.copyfileobj(source, file)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DataError(f"{archive} could not be unpacked into {folder} ({error}); delete it and try again") from error
    if wanted:
        raise DataError(f"{archive} does not contain {', '.join(wanted)}; delete it and try again")


def _is_complete(path):
    return path.is_file() and path.stat().st_size == RECORDS * RECORD_BYTES


def read_folder(folder, records):
    """The set in six files of `records` records each."""
    if not folder.is_dir():
        raise DataError(
            f"CIFAR-10 is not at {folder}: set MINIGRAD_DATA to the folder that contains {FOLDER}, "
            "call load_cifar10(download=True) to fetch it (162 MB), or run the lessons with --data synthetic"
        )
    images, labels = zip(*(read_batch(folder / name, records) for name in TRAIN_FILES), strict=True)
    images, labels = numpy.concatenate(images), numpy.concatenate(labels)
    description = "CIFAR-10 (JPEG-compressed)" if looks_jpeg_compressed(images[:1000]) else "CIFAR-10"
    return Dataset(images, labels, *read_batch(folder / TEST_FILES[0], records), CLASS_NAMES, description)


def read_batch(path, records):
    """The images (records, 3, 32, 32), uint8, and labels (records,), int64, of one file."""
    try:
        refuse_what_is_no_file(path)
        content = numpy.fromfile(path, numpy.uint8)
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
    return table[:, 1:].reshape(records, *SHAPE), checked_labels(table[:, 0], len(CLASS_NAMES), path)
