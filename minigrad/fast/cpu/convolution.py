"""Convolutions on the CPU. The batch is cut into chunks of a fixed size, which are spread over the cores, and a chunk
into a few images at a time, so that whatever is made of them stays in cache.

- 3×3 kernels in float32: Winograd's algorithm, winograd.py.
- Everything else: the windows are laid out as the rows of a matrix (im2col), and a matrix product does the rest.

Results have the shape (N, C, H, W), but lie in memory channels last: both ways copy whole pixels then, and NumPy's
other functions keep the order that they find.
"""

import functools
import math

import numpy

from minigrad.fast.convolution import faster_convolutions
from minigrad.fast.cpu import parallel, winograd
from minigrad.fast.replace import faster, instead, without_library
from minigrad.ops.convolution import window_entries
from minigrad.settings import config

CHUNK = 10  # images at most: few enough to balance the cores, enough that weight gradients have few partial sums
CHUNKS = 4  # and where there are several, always a multiple of this: then 2 or 4 cores have equal shares
WORTH = 2**24  # products of two numbers that a chunk should have at least: many times what handing it over costs
BUFFER = 2**21  # bytes of windows at a time, if one image's are fewer: large enough to amortize Python's overhead
TILES, TILES_OVER_BATCH = 64, 256  # Winograd's tiles at a time; more where every time 36 matrices have to be added up
CHANNELS = 48  # with fewer on either side, Winograd's transforms cost about what they save


def correlate(x, w, stride, offset, dilation, span, bias=None):
    """Correlate the images with the kernels, on a canvas of zeros around and between the pixels.

    Parameters
    ----------
    x : (N, C, H, W) array
    w : (O, C, kh, kw) array
    stride : (int, int)
        Distance of the kernel's positions.
    offset : (int, int)
        Rows and columns of zeros before the first pixel; a negative offset cuts pixels off.
    dilation : (int, int)
        Distance of neighbouring pixels on the canvas; 1 puts no zeros between them.
    span : (int, int)
        The kernel visits positions 0, stride, 2·stride, … below `span`.
    bias : (O,) array, optional
        Added to each channel of the result.

    Returns
    -------
    (N, O, ⌈span/stride⌉, …) array
    """
    out = tuple((n - 1) // s + 1 for n, s in zip(span, stride, strict=True))
    dtype = numpy.result_type(x, w) if bias is None else numpy.result_type(x, w, bias)
    y, x = numpy.empty((x.shape[0], *out, w.shape[0]), dtype), x.transpose(0, 2, 3, 1)
    if not y.size:
        return y.transpose(0, 3, 1, 2)

    @functools.cache
    def matrix():
        return numpy.ascontiguousarray(w.transpose(2, 3, 1, 0).reshape(-1, w.shape[0])).astype(dtype, copy=False)

    def by_windows(images):
        for few, rows in _windows(x, images, w.shape[2:], out, stride, offset, dilation, dtype):
            numpy.matmul(rows, matrix(), out=y[few].reshape(len(rows), len(w)))
            yield few

    def by_winograd(images):
        for few, even in _few_even(x, images, out, offset, TILES):
            if even:
                winograd.correlate(x[few], weight, y[few], offset)
                yield few
            else:
                yield from by_windows(few)

    fill = by_windows
    if _by_winograd(w.shape, dtype, stride, dilation):
        weight = parallel.for_each(winograd.transformed, [w.astype(dtype, copy=False)])[0]
        if _all_finite(weight):
            fill = by_winograd

    def convolve(images):
        for few in fill(images):
            if bias is not None:  # now, while they are in cache
                y[few] += bias

    _over_chunks(convolve, len(x), y.size * math.prod(w.shape[1:]))
    return y.transpose(0, 3, 1, 2)


def correlate_over_batch(gy, x, size, stride, offset):
    """The gradient of a convolution for its kernel: Σ over images of gy[n]ᵀ · windows(x[n]).

    Parameters
    ----------
    gy : (N, O, H', W') array
    x : (N, C, H, W) array
    size : (int, int)
        The kernel's.
    stride, offset : (int, int)
        As for `correlate`.

    Returns
    -------
    (O, C, kh, kw) array
    """
    shape = (gy.shape[1], x.shape[1], *size)
    dtype = numpy.result_type(gy, x)
    out = gy.shape[2:]
    gy, x = gy.transpose(0, 2, 3, 1), x.transpose(0, 2, 3, 1)
    if not math.prod(shape) * gy.size:
        return numpy.zeros(shape, dtype)

    def by_windows(images):
        windows = _windows(x, images, size, out, stride, offset, (1, 1), dtype)
        parts = (gy[few].reshape(len(rows), shape[0]).T @ rows for few, rows in windows)
        return _sum(parts).reshape(shape[0], *size, shape[1]).transpose(0, 3, 1, 2)

    def by_winograd(images):
        batches = list(_few_even(x, images, out, offset, TILES_OVER_BATCH))
        parts = [by_windows(few) for few, even in batches if not even]
        if any(even for _, even in batches):
            tiles = (winograd.correlate_over_batch(gy[few], x[few], offset) for few, even in batches if even)
            parts.append(winograd.transformed_back(_sum(tiles), shape))
        total = _sum(parts)
        return total if _all_finite(total) else by_windows(images)

    partial_sum = by_winograd if _by_winograd(shape, dtype, stride, (1, 1)) else by_windows
    # The chunks are added up in their order, so the sum does not depend on the number of cores.
    return numpy.ascontiguousarray(_sum(_over_chunks(partial_sum, len(x), gy.size * math.prod(shape[1:]))))


def _by_winograd(shape, dtype, stride, dilation):
    """Whether Winograd's algorithm can compute a convolution with a weight of this shape, and is worth it."""
    possible = dtype == numpy.float32 and shape[2:] == (3, 3) and stride == dilation == (1, 1)
    return possible and min(shape[:2]) >= CHANNELS and config.winograd


def _few_even(x, images, out, offset, room):
    """(slice of a few images, whether Winograd's algorithm may have them), as many as have `room` tiles at a time."""
    even = winograd.even(x[images], out, offset)
    for few in _few(images, math.prod(-(-size // winograd.TILE) for size in out), room):
        yield few, even[few.start - images.start : few.stop - images.start].all()


def _all_finite(array):
    """Whether no entry is NaN or inf; one that is near float32's end counts as inf."""
    flat = array.reshape(-1)
    with numpy.errstate(all="ignore"):
        return numpy.isfinite(numpy.dot(flat, flat))


def _sum(parts):
    total = next(parts := iter(parts))
    for part in parts:
        total += part
    return total


def _over_chunks(function, count, products):
    """What `function` returns for each slice of the images; how they are cut depends on the two numbers alone."""
    parts = min(count, CHUNKS * math.ceil(count / (CHUNKS * CHUNK)), max(1, products // WORTH))
    return parallel.for_each(function, [slice(count * i // parts, count * (i + 1) // parts) for i in range(parts)])


def _few(images, each, room):
    """Slices of as many images at a time as fit into `room`, if `each` takes so much of it; at least one."""
    count = max(1, room // max(1, each))
    for start in range(images.start, images.stop, count):
        yield slice(start, min(start + count, images.stop))


def _windows(x, images, size, out, stride, offset, dilation, dtype):
    """(a few of the images as a slice, their windows as the rows of a matrix (n·H'·W', kh·kw·C))."""
    channels = x.shape[-1]
    canvas_shape = [(n - 1) * s + k for n, s, k in zip(out, stride, size, strict=True)]
    width = math.prod(size) * channels
    for few in _few(images, math.prod(out) * width * numpy.dtype(dtype).itemsize, BUFFER):
        if x.shape[1:3] == tuple(canvas_shape) and offset == (0, 0) and dilation == (1, 1):
            canvas = x[few].astype(dtype, copy=False)
        else:
            canvas = numpy.zeros((few.stop - few.start, *canvas_shape, channels), dtype)
            winograd.place(x[few], canvas, offset, dilation)
        windows = numpy.lib.stride_tricks.sliding_window_view(canvas, size, axis=(1, 2))[:, :: stride[0], :: stride[1]]
        rows = (few.stop - few.start) * math.prod(out)
        yield few, numpy.ascontiguousarray(windows.transpose(0, 1, 2, 4, 5, 3)).reshape(rows, width)


# ---- in the place of the plain forms --------------------------------------------------------------------------------


def avg_unpool2d(v, image, size, stride):
    """As the plain form, but channels last, as the other results here."""
    share = v * (1 / (size[0] * size[1]))
    n, channels = v.shape[:2]
    result = numpy.zeros((n, *image, channels), v.dtype).transpose(0, 3, 1, 2)
    for _, _, index in window_entries(size, stride, v.shape[2:]):
        result[index] += share
    return result


faster("avg_unpool2d", "cpu", instead(without_library(avg_unpool2d), lambda xp, *args, **params: xp is numpy))
faster_convolutions("cpu", lambda *arrays: isinstance(arrays[0], numpy.ndarray), correlate, correlate_over_batch)
