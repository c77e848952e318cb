"""ZCA whitening: the linear map that makes pixels uncorrelated and changes pictures least.

The paper (Salimans and Kingma 2016, section 5.1) trains its CIFAR-10 networks on whitened pictures.
"""

import hashlib
import os
import zipfile
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .folders import cache_folder

CHUNK = 2000  # pictures worked on at a time
CACHE_VERSION = 1  # raise it when the computation changes, so that older cache files are not taken


def scale_pixels(images):
    """Map pixel values 0 to 255 to the range -1 to 1, as (images - 127.5) / 128.

    Parameters
    ----------
    images : ndarray of uint8
        Any shape.

    Returns
    -------
    ndarray of float32, same shape

    Raises
    ------
    TypeError
        If `images` is of another dtype: floating-point pictures have been scaled already, to this range or another.
    """
    if images.dtype != np.uint8:
        raise TypeError(f"scale_pixels takes uint8 images, got {images.dtype}")
    return (images.astype(np.float32) - np.float32(127.5)) / np.float32(128)


@dataclass(frozen=True, eq=False)
class ZCA:
    """A fitted whitening map x -> (x - mean) @ matrix on flattened pictures.

    Attributes
    ----------
    mean : ndarray of float32, shape (D,)
        Mean picture.
    matrix : ndarray of float32, shape (D, D)
        Symmetric: U diag(1 / sqrt(S + epsilon)) Uᵀ, where U diag(S) Uᵀ is the covariance of the pictures.
    epsilon : float
        Keeps directions of no variance finite: they are scaled by 1 / sqrt(epsilon).
    """

    mean: np.ndarray
    matrix: np.ndarray
    epsilon: float

    @classmethod
    def fit(cls, images, epsilon=1e-5):
        """Compute the whitening map of a set of pictures.

        With fewer pictures than values in a picture the covariance has no full rank, and a small `epsilon`
        amplifies whatever else lies in the empty directions: use more pictures or a larger `epsilon`.

        Parameters
        ----------
        images : ndarray of floating point, shape (N, ...)
            At least one picture; D is the number of values in each.
        epsilon : float
            Added to the variances, so in squared units of the pixels; above 0.

        Raises
        ------
        TypeError
            If `images` is not of floating point (see `scale_pixels`).
        ValueError
            If there is no picture, or `epsilon` is not above 0.
        """
        _refuse_integers(images, "ZCA.fit")
        if images.size == 0:
            raise ValueError(f"ZCA.fit needs at least one picture, got images of shape {images.shape}")
        if not epsilon > 0:
            raise ValueError(f"ZCA.fit needs an epsilon above 0, got {epsilon}")
        mean, covariance = mean_and_covariance(images.reshape(len(images), -1))
        variances, directions = np.linalg.eigh(covariance)
        # A covariance has no negative eigenvalues; rounding may leave some just below zero.
        scales = 1 / np.sqrt(np.maximum(variances, 0) + epsilon)
        matrix = (directions * scales) @ directions.T
        return cls(mean.astype(np.float32), matrix.astype(np.float32), float(epsilon))

    def __call__(self, images):
        """Whiten pictures of the shape that the map was fitted to.

        Parameters
        ----------
        images : ndarray of floating point, shape (N, ...)

        Returns
        -------
        ndarray of float32, same shape

        Raises
        ------
        TypeError
            If `images` is not of floating point (see `scale_pixels`).
        ValueError
            If a picture has another number of values than those of the fit.
        """
        _refuse_integers(images, "ZCA")
        values = int(np.prod(images.shape[1:]))
        if values != len(self.mean):
            raise ValueError(
                f"this ZCA was fitted to pictures of {len(self.mean)} values, got images of shape {images.shape}"
            )
        rows = images.reshape(len(images), values)
        whitened = np.empty(rows.shape, np.float32)
        for start in range(0, len(rows), CHUNK):
            chunk = slice(start, start + CHUNK)
            np.matmul(rows[chunk].astype(np.float32) - self.mean, self.matrix, out=whitened[chunk])
        return whitened.reshape(images.shape)


def _refuse_integers(images, name):
    if not np.issubdtype(images.dtype, np.floating):
        raise TypeError(f"{name} needs floating-point images, got {images.dtype}; use scale_pixels first")


def mean_and_covariance(rows):
    """Return the mean (D,) and covariance (D, D) of N rows, divided by N, both float64.

    Chunk by chunk, so that no second copy of the rows is made, and in float64: the matrix inverts variances as
    small as epsilon, and float32 errors in the covariance of pictures come close to 1e-5.
    """
    from tqdm import tqdm

    count, values = rows.shape
    mean = rows.mean(axis=0, dtype=np.float64)
    covariance = np.zeros((values, values))
    # The bar appears only when the work takes over a second.
    for start in tqdm(range(0, count, CHUNK), desc="covariance", unit="chunk", disable=None, delay=1):
        centred = rows[start : start + CHUNK] - mean
        covariance += centred.T @ centred
    return mean, covariance / count


def zca_cached(images, epsilon=1e-5, folder=None):
    """Return ``ZCA.fit(images, epsilon)``, from disk when it was computed before.

    The file is ``zca/<digest>.npz``, the digest a SHA-256 of the pictures and everything else that the result
    depends on. A damaged file is replaced; a folder that cannot be written is no error, the map is just computed.

    Parameters
    ----------
    images : ndarray of floating point, shape (N, ...)
    epsilon : float
    folder : path-like, optional
        The folder that contains ``zca``; `cache_folder` by default.

    Returns
    -------
    ZCA

    Raises
    ------
    TypeError, ValueError
        As `ZCA.fit`.
    """
    root = cache_folder() if folder is None else Path(folder)
    path = root / "zca" / f"{digest(images, epsilon)}.npz"
    zca = load_zca(path, images, epsilon)
    if zca is None:
        zca = ZCA.fit(images, epsilon)
        save_zca(path, zca)
    return zca


def digest(images, epsilon):
    """Return a SHA-256 in hexadecimal of what the whitening map depends on."""
    header = f"{CACHE_VERSION} {images.dtype.str} {images.shape} {float(epsilon)!r}"
    state = hashlib.sha256(header.encode())
    for start in range(0, len(images), CHUNK):
        state.update(np.ascontiguousarray(images[start : start + CHUNK]).tobytes())
    return state.hexdigest()


def load_zca(path, images, epsilon):
    """Read a cached map for `images`; return None if there is none, or the file is damaged."""
    values = int(np.prod(images.shape[1:]))
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            mean, matrix = file["mean"], file["matrix"]
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error):
        return None
    intact = mean.shape == (values,) and matrix.shape == (values, values) and mean.dtype == matrix.dtype == np.float32
    return ZCA(mean, matrix, float(epsilon)) if intact else None


def save_zca(path, zca):
    """Write a map in one step, or not at all where the folder cannot be written."""
    part = path.with_name(path.name + ".part")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:  # given a name, np.savez would append .npz to it
            np.savez(file, mean=zca.mean, matrix=zca.matrix)
        os.replace(part, path)
    with suppress(OSError):  # a full disk leaves half a file
        part.unlink(missing_ok=True)
