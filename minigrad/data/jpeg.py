"""looks_jpeg_compressed: has a set of pictures lost detail to JPEG?

Copies of CIFAR-10 are in circulation that went through JPEG. Test errors on them are not comparable with those on the
original, so the loader says so.
"""

import numpy


def looks_jpeg_compressed(images: numpy.ndarray) -> bool:
    """Whether pictures went through JPEG compression after they were scaled to their present size.

    JPEG quantizes the cosine coefficients of every 8x8 block, most of the high frequencies to zero, and the decoded
    pixels keep these near-zeros. Smooth pictures have near-zeros too, but on any grid of blocks; those of JPEG show
    only on its own grid. The answer is yes if on that grid the fraction of near-zeros among the high frequencies is
    larger by more than 0.25 than on a grid shifted by four pixels. For downscaled photographs the difference was
    measured: below 0.02 uncompressed; 0.27 to 0.67 for JPEG quality 95 to 30.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, 3, H, W)
        Colour pictures, H and W at least 16; a thousand of them are plenty.

    Returns
    -------
    bool
    """
    luminance = numpy.tensordot(images, numpy.float32([0.299, 0.587, 0.114]), axes=(1, 0))
    on_grid = _near_zeros(luminance)
    off_grid = _near_zeros(luminance[:, 4:-4, 4:-4])
    return bool(on_grid - off_grid > 0.25)


def _near_zeros(planes):
    """The fraction of the high-frequency cosine coefficients of 8x8 blocks that lie within 0.5 of zero."""
    count, height, width = planes.shape
    k = numpy.arange(8)
    cosines = numpy.cos(numpy.pi / 8 * k[:, None] * (k + 0.5)) / 2
    cosines[0] /= numpy.sqrt(2)  # now the rows are orthonormal
    blocks = planes[:, : height // 8 * 8, : width // 8 * 8].reshape(count, height // 8, 8, width // 8, 8)
    coefficients = cosines @ blocks.swapaxes(2, 3) @ cosines.T
    return numpy.mean(numpy.abs(coefficients[..., k[:, None] + k >= 8]) < 0.5)
