"""ZCA whitening: of all linear maps that make pixels uncorrelated, the one that changes pictures least.

    x ↦ (x - μ) U (S + ε)^{-1/2} Uᵀ    where μ is the mean and U S Uᵀ the covariance of the pictures

The paper (Salimans & Kingma 2016, section 5.1) trains its CIFAR-10 networks on pictures whitened in this way.
"""

import hashlib
import math
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy

from minigrad.data.folders import cache_folder
from minigrad.saving import CheckpointError, load, save

CHUNK = 2000  # pictures worked on at a time
CACHE_VERSION = 1  # raise it when the computation changes, so that older cache files are not used


def scale_pixels(images: numpy.ndarray) -> numpy.ndarray:
    """Pixel values from 0 to 255 scaled to the range from -1 to 1: (images - 127.5) / 128.

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
        If `images` has another dtype: floating-point pictures have been scaled already, to this range or another.
    """
    if images.dtype != numpy.uint8:
        raise TypeError(f"scale_pixels takes uint8 images, from 0 to 255, got {images.dtype}")
    return (images.astype(numpy.float32) - numpy.float32(127.5)) / numpy.float32(128)


@dataclass(frozen=True, eq=False)
class ZCA:
    """A fitted whitening map x ↦ (x - mean) @ matrix of flattened pictures.

    Attributes
    ----------
    mean : ndarray of float32, shape (D,)
        The mean picture.
    matrix : ndarray of float32, shape (D, D)
        U (S + epsilon)^{-1/2} Uᵀ, symmetric, where U S Uᵀ is the covariance of the pictures.
    epsilon : float
        Keeps directions without variance finite: they are scaled by 1/√epsilon.
    """

    mean: numpy.ndarray
    matrix: numpy.ndarray
    epsilon: float

    @classmethod
    def fit(cls, images: numpy.ndarray, epsilon: float = 1e-5) -> "ZCA":
        """The whitening map of a set of pictures.

        With fewer pictures than values in a picture, the covariance is singular, and a small `epsilon` amplifies
        whatever other pictures have in its null space: use more pictures or a larger `epsilon`.

        Parameters
        ----------
        images : ndarray of floating point, shape (N, ...)
            At least one picture, of D values.
        epsilon : float
            Added to the variances, so in the square of the pixels' units; above 0.

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
        mean, covariance = _mean_and_covariance(images.reshape(len(images), -1))
        variances, directions = numpy.linalg.eigh(covariance)
        # A covariance has no negative eigenvalues, but rounding may leave some just below zero.
        scales = 1 / numpy.sqrt(numpy.maximum(variances, 0) + epsilon)
        matrix = (directions * scales) @ directions.T
        return cls(mean.astype(numpy.float32), matrix.astype(numpy.float32), float(epsilon))

    def __call__(self, images: numpy.ndarray) -> numpy.ndarray:
        """Whitened pictures, of the shape that the map was fitted to.

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
            If a picture does not have as many values as those of the fit.
        """
        _refuse_integers(images, "ZCA")
        values = int(numpy.prod(images.shape[1:]))
        if values != len(self.mean):
            raise ValueError(
                f"this ZCA was fitted to pictures of {len(self.mean)} values, got images of shape {images.shape}"
            )
        rows = images.reshape(len(images), values)
        whitened = numpy.empty(rows.shape, numpy.float32)
        for start in range(0, len(rows), CHUNK):
            chunk = slice(start, start + CHUNK)
            numpy.matmul(rows[chunk].astype(numpy.float32) - self.mean, self.matrix, out=whitened[chunk])
        return whitened.reshape(images.shape)


def _refuse_integers(images, name):
    if not numpy.issubdtype(images.dtype, numpy.floating):
        raise TypeError(f"{name} needs floating-point images, got {images.dtype}; use scale_pixels first")


def _mean_and_covariance(rows):
    """The mean (D,) and the covariance (D, D) of N rows, Σ (x - μ)(x - μ)ᵀ/N, both float64.

    Chunk by chunk, so that the rows are never copied as a whole, and in float64: the map inverts variances as small as
    epsilon, and in float32 the errors of the covariance of pictures come close to 1e-5.
    """
    from tqdm import tqdm

    count, values = rows.shape
    mean = rows.mean(axis=0, dtype=numpy.float64)
    covariance = numpy.zeros((values, values))
    # The bar appears only if this takes more than a second.
    for start in tqdm(range(0, count, CHUNK), desc="covariance", unit="chunk", disable=None, delay=1):
        centred = rows[start : start + CHUNK] - mean
        covariance += centred.T @ centred
    return mean, covariance / count


def zca_cached(images: numpy.ndarray, epsilon: float = 1e-5, folder: str | os.PathLike[str] | None = None) -> ZCA:
    """``ZCA.fit(images, epsilon)``, read from disk if it was computed before.

    The file is ``zca/<digest>.npz``; the digest is a SHA-256 of the pictures and everything else that the result
    depends on. A damaged file is replaced. If the folder cannot be written, the map is computed each time.

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
    path = root / "zca" / f"{_digest(images, epsilon)}.npz"
    with suppress(OSError, CheckpointError):
        saved = load(path)
        if _is_map(saved, math.prod(images.shape[1:]), float(epsilon)):
            return ZCA(**saved)
    zca = ZCA.fit(images, epsilon)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        save(path, vars(zca))
    return zca


def _is_map(saved, values, epsilon):
    """Whether this is what `zca_cached` saves for pictures of so many values."""
    if not isinstance(saved, dict) or saved.keys() != {"mean", "matrix", "epsilon"}:
        return False
    if not isinstance(saved["epsilon"], float) or saved["epsilon"] != epsilon:
        return False
    arrays = saved["mean"], saved["matrix"]
    shapes = (values,), (values, values)
    return all(
        isinstance(array, numpy.ndarray) and array.dtype == numpy.float32 and array.shape == shape
        for array, shape in zip(arrays, shapes, strict=True)
    )


def _digest(images, epsilon):
    """A SHA-256, in hexadecimal, of what the whitening map depends on."""
    header = f"{CACHE_VERSION} {images.dtype.str} {images.shape} {float(epsilon)!r}"
    state = hashlib.sha256(header.encode())
    for start in range(0, len(images), CHUNK):
        state.update(numpy.ascontiguousarray(images[start : start + CHUNK]).tobytes())
    return state.hexdigest()
