"""Convolutions on the CPU. The batch is cut into chunks of a fixed size, which are spread over the cores, and a chunk
into a few images at a time, so that whatever is made of them stays in cache.

- 3×3 kernels in float32: Winograd's algorithm, winograd.py.
- Everything else: the windows are laid out as the rows of a matrix (im2col), and a matrix product does the rest.

Results have the shape (N, C, H, W), but lie in memory channels last: both ways copy whole pixels then, and NumPy's
other functions keep the order that they find.
"""

import functools
import itertools
import math

import numpy

from minigrad.fast.convolution import faster_convolutions
from minigrad.fast.cpu import memory, parallel, winograd
from minigrad.fast.replace import faster, instead, without_library
from minigrad.ops.convolution import window_entries
from minigrad.settings import config

CHUNK = 10  # images at most: few enough to balance the cores, enough that weight gradients have few partial sums
CHUNKS = 4  # and where there are several, always a multiple of this: then 2 or 4 cores have equal shares
WORTH = 2**23  # products of two numbers that a chunk should have at least: many times what handing it over costs
BUFFER = 3 * 2**20  # bytes of windows at a time, if one image's are fewer: large enough to amortize Python's overhead
TILES, TILES_OVER_BATCH = 64, 128  # Winograd's tiles at a time; more where every time 36 matrices have to be added up
SMALL = 10**6  # products of two numbers in a matrix product that OpenBLAS, with AVX-512, does without copies
ROWS = 32  # that a matrix of windows should have at least
CHANNELS = 48  # with fewer on either side, Winograd's transforms cost about what they save
TILES_IN_ALL = 64  # with fewer, transforming the kernel costs more than Winograd's algorithm saves
TILES_IN_CHUNK = 16  # the same for weight gradients, of which each chunk has one to transform back


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
        Distance of neighbouring pixels on the canvas; 1 puts no zeros between them. If it is another, stride is 1.
    span : (int, int)
        The kernel visits positions 0, stride, 2·stride, … below `span`.
    bias : (O,) array, optional
        Added to each channel of the result.

    Returns
    -------
    (N, O, ⌈span/stride⌉, …) array
    """
    if dilation != (1, 1) and _all_finite(x):
        return _by_phases(x, w, offset, dilation, span, bias)
    out = tuple((n - 1) // s + 1 for n, s in zip(span, stride, strict=True))
    dtype = numpy.result_type(x, w) if bias is None else numpy.result_type(x, w, bias)
    y, x = numpy.empty((x.shape[0], *out, w.shape[0]), dtype), x.transpose(0, 2, 3, 1)
    if not y.size:
        return y.transpose(0, 3, 1, 2)

    joined = _joined(out, w.shape, stride)

    @functools.cache
    def matrix(joined):
        return _matrix(w.astype(dtype, copy=False), joined, stride[1])

    rows_of_bias = None if bias is None else numpy.tile(bias, out[1])  # for a row of an image at a time

    def by_windows(images):
        beside = joined if joined == 1 or _all_finite(x[images]) else 1  # 0 · inf would reach a neighbour
        for few, rows in _windows(x, images, w.shape, out, stride, offset, dilation, dtype, beside):
            numpy.matmul(rows, matrix(beside), out=y[few].reshape(*rows.shape[:-1], -1))
            if bias is not None:  # now, while they are in cache
                y[few].reshape(-1, len(rows_of_bias))[...] += rows_of_bias

    def by_winograd(images):
        for few, canvas in _few_even(x, images, out, offset, most, TILES):
            if canvas is None:
                by_windows(few)
            else:
                winograd.correlate(canvas, weight, bias, y[few])

    convolve = by_windows
    tiles = len(x) * winograd.tile_count(out)
    possible = tiles >= TILES_IN_ALL and _by_winograd(w.shape, dtype, stride, dilation)
    if possible and (most := winograd.largest_pixel(w)):
        weight = parallel.for_each(winograd.transformed, [w.astype(dtype, copy=False)])[0]
        convolve = by_winograd

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

    joined = _joined(out, shape, stride)

    def by_windows(images):
        windows = _windows(x, images, shape, out, stride, offset, (1, 1), dtype, joined)
        parts = (gy[few].reshape(*rows.shape[:-1], -1).swapaxes(1, 2) @ rows for few, rows in windows)
        sums = (part[0] if len(part) == 1 else part.sum(axis=0, dtype=dtype) for part in parts)
        return _matrix_back(_sum(sums), shape, joined, stride[1])

    def by_winograd(images):
        if (images.stop - images.start) * winograd.tile_count(out) < TILES_IN_CHUNK:
            return by_windows(images)
        batches = list(_few_even(x, images, out, offset, math.inf, TILES_OVER_BATCH))
        parts = [by_windows(few) for few, canvas in batches if canvas is None]
        if len(parts) < len(batches):
            tiles = (winograd.correlate_over_batch(gy[few], canvas) for few, canvas in batches if canvas is not None)
            with numpy.errstate(all="ignore"):  # what is not finite is computed again, with the plain way's warnings
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


def _few_even(x, images, out, offset, most, room):
    """(slice of a few images, their canvas if Winograd's algorithm may have them, else None).

    They are as many as have `room` tiles. One canvas is made for all `images`: the fewer calls of NumPy, the less often
    a thread waits for the interpreter.
    """
    even = winograd.even(x[images], out, offset, most)
    canvas = winograd.on_canvas(x[images], out, offset)
    for few in _few(images, winograd.tile_count(out), room):
        here = slice(few.start - images.start, few.stop - images.start)
        yield few, canvas[here] if even[here].all() else None


def _all_finite(array):
    """Whether no entry is NaN or inf; one that is near float32's end counts as inf."""
    flat = array.ravel(order="K")
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
    most, images_in_all = max(1, room // max(1, each)), images.stop - images.start
    count = math.ceil(images_in_all / math.ceil(images_in_all / most))  # six, if five fit, are three and three
    for start in range(images.start, images.stop, count):
        yield slice(start, min(start + count, images.stop))


def _joined(out, shape, stride):
    """How many neighbouring places of an image's row share one row of the matrix of windows: 1 or 2.

    Two places side by side see much the same, so that there is less to copy, and their matrix is wider. It has zeros,
    too, products for nothing: this is worth it where channels are few, and products cheap beside copies.
    """
    outputs, channels, _, width = shape
    few = channels * width <= 80 or outputs < 8
    return 2 if few and out[1] % 2 == 0 and 2 * stride[1] <= width else 1


def _matrix(w, joined, stride):
    """w (O, C, kh, kw) as a matrix that maps what `joined` neighbouring places see to their outputs side by side."""
    outputs, channels, kh, kw = w.shape
    if joined == 1 and w.size > SMALL:  # a transposed view is made five times as fast, and BLAS takes it as well
        return numpy.ascontiguousarray(w.transpose(0, 2, 3, 1)).reshape(outputs, -1).T
    matrix = numpy.zeros((kh, (joined - 1) * stride + kw, channels, joined, outputs), w.dtype)
    for place in range(joined):
        matrix[:, place * stride : place * stride + kw, :, place] = w.transpose(2, 3, 1, 0)
    return matrix.reshape(kh * ((joined - 1) * stride + kw) * channels, joined * outputs)


def _matrix_back(gradient, shape, joined, stride):
    """The transpose of `_matrix`: from the gradient's transpose to (O, C, kh, kw)."""
    outputs, channels, kh, kw = shape
    gradient = gradient.reshape(joined, outputs, kh, (joined - 1) * stride + kw, channels)
    parts = (gradient[place, :, :, place * stride : place * stride + kw] for place in range(joined))
    return _sum(parts).transpose(0, 3, 1, 2)


def _windows(x, images, shape, out, stride, offset, dilation, dtype, joined):
    """(a few of the images as a slice, what `joined` places see, as matrices (b, rows, columns)), for a weight's shape.

    A matrix is as many lines of an image as BLAS multiplies without copying them first, or several whole images.
    """
    (outputs, channels), size = shape[:2], shape[2:]
    canvas_shape = [(n - 1) * s + k for n, s, k in zip(out, stride, size, strict=True)]
    size = (size[0], (joined - 1) * stride[1] + size[1])
    columns, rows = math.prod(size) * channels, out[1] // joined  # of what one line of an image sees
    for few in _few(images, out[0] * rows * columns * numpy.dtype(dtype).itemsize, BUFFER):
        if x.shape[1:3] == tuple(canvas_shape) and offset == (0, 0) and dilation == (1, 1):
            canvas = x[few].astype(dtype, copy=False)
        else:
            canvas = memory.scratch("canvas of windows", (few.stop - few.start, *canvas_shape, channels), dtype)
            canvas.fill(0)
            winograd.place(x[few], canvas, offset, dilation)
        seen = winograd.windows(canvas, size, (stride[0], joined * stride[1]), (out[0], rows))
        room = SMALL // max(1, rows * columns * joined * outputs)
        lines = max((n for n in range(1, min(room, out[0]) + 1) if out[0] % n == 0), default=0)
        if lines * rows < ROWS:
            lines = len(canvas) * out[0]
        if not seen.flags.c_contiguous:  # as the windows of a 1×1 kernel are
            copies = memory.scratch("windows", seen.shape, dtype)
            copies[...] = seen
            seen = copies
        yield few, seen.reshape(len(canvas) * out[0] // lines, lines * rows, columns)


def _by_phases(x, w, offset, dilation, span, bias):
    """`correlate` with stride 1 on a canvas on which pixels lie `dilation` apart.

    Of the kernel's taps along an axis, every `dilation`-th meets a pixel, at each place others. Places that lie
    `dilation` apart meet the same: so there are dilation² kernels of a few taps each, for images without gaps.
    """
    outputs, channels = w.shape[:2]
    counts, starts = [], []  # how many taps a phase has; which of them is the first in the kernel, and which one there
    for k, o, d in zip(w.shape[2:], offset, dilation, strict=True):
        counts.append(max(1, (k - 1 - o % d + d - 1) // d + 1))
        starts.append([(int(phase > o % d), (o - phase) % d) for phase in range(d)])
    kernels = numpy.zeros((*dilation, outputs, channels, *counts), w.dtype)
    for (row, (m, i)), (column, (n, j)) in itertools.product(*map(enumerate, starts)):
        taps = w[:, :, i :: dilation[0], j :: dilation[1]]
        kernels[row, column, :, :, m : m + taps.shape[2], n : n + taps.shape[3]] = taps
    kernels = kernels.reshape(math.prod(dilation) * outputs, channels, *counts)
    places = tuple(-(-n // d) for n, d in zip(span, dilation, strict=True))
    first = tuple(o // d for o, d in zip(offset, dilation, strict=True))
    biases = None if bias is None else numpy.tile(bias, math.prod(dilation))
    with config(winograd=False):  # which `even` would judge by taps that some of these kernels do not have
        y = correlate(x, kernels, (1, 1), first, (1, 1), places, biases)
    y = y.transpose(0, 2, 3, 1).reshape(len(x), *places, *dilation, outputs).transpose(0, 1, 3, 2, 4, 5)
    y = y.reshape(len(x), places[0] * dilation[0], places[1] * dilation[1], outputs)
    return y[:, : span[0], : span[1]].transpose(0, 3, 1, 2)


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


def _takes(*arrays):
    """Arrays of NumPy's numbers; not of Python's, such as fractions."""
    return isinstance(arrays[0], numpy.ndarray) and not any(a.dtype.hasobject for a in arrays)


faster_convolutions("cpu", _takes, correlate, correlate_over_batch, takes_kernel=_all_finite)  # 0 · inf is NaN
