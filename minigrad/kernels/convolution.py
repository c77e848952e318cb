"""How convolutions are computed fast, on the CPU: a few images' windows are laid out as columns (im2col) in a buffer
that is reused for the next few, so that it stays in cache, and a matrix product does the rest. The batch is cut into
chunks of a fixed size, which are spread over the cores.

The plain versions of both functions, `reference_*`, say what is computed; tests compare the two.
"""

import math

import numpy

from minigrad import parallel

CHUNK = 10  # images: enough chunks for every core, few enough that the partial sums of weight gradients stay small
BUFFER = 2**21  # bytes of columns at a time, if one image's are fewer: large enough to amortize Python's overhead


def correlate(xp, x, w, stride, offset, spread, span):
    """Correlate the images with the kernels, on a canvas of zeros around and between the pixels.

    Parameters
    ----------
    x : (N, C, H, W) array
    w : (O, C, kh, kw) array
    stride : (int, int)
        Distance of the kernel's positions.
    offset : (int, int)
        Rows and columns of zeros before the first pixel; a negative offset cuts pixels off.
    spread : (int, int)
        Distance of neighbouring pixels on the canvas; 1 puts no zeros between them.
    span : (int, int)
        The kernel visits positions 0, stride, 2·stride, … below `span`.

    Returns
    -------
    (N, O, ⌈span/stride⌉, …) array
    """
    out = tuple((n - 1) // s + 1 for n, s in zip(span, stride, strict=True))
    y = xp.empty((x.shape[0], w.shape[0], *out), xp.result_type(x, w))
    if not y.size:
        return y
    matrix = w.reshape(w.shape[0], -1).astype(y.dtype, copy=False)
    canvas_shape = (x.shape[1], span[0] + w.shape[2] - 1, span[1] + w.shape[3] - 1)

    def convolve(images):
        for few, canvas, columns in _in_buffers(xp, images, canvas_shape, w.shape[2:], out, y.dtype):
            _lay_out(x[few], canvas, columns, stride, offset, spread)
            target = y[few].reshape(len(columns), len(matrix), -1)
            xp.matmul(matrix, columns.reshape(len(columns), matrix.shape[1], math.prod(out)), out=target)

    _over_chunks(xp, convolve, len(x))
    return y


def correlate_over_batch(xp, gy, x, size, stride, offset):
    """The gradient of a convolution for its kernel: Σ over images of gy[n] · columns(x[n])ᵀ.

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
    dtype = xp.result_type(gy, x)
    if not math.prod(shape):
        return xp.zeros(shape, dtype)
    out = gy.shape[2:]
    span = tuple((n - 1) * s + 1 for n, s in zip(out, stride, strict=True))
    canvas_shape = (x.shape[1], span[0] + size[0] - 1, span[1] + size[1] - 1)

    def partial_sum(images):
        total = xp.zeros((shape[0], shape[1] * size[0] * size[1]), dtype)
        for few, canvas, columns in _in_buffers(xp, images, canvas_shape, size, out, dtype):
            _lay_out(x[few], canvas, columns, stride, offset, (1, 1))
            rows = columns.reshape(len(columns), total.shape[1], -1).swapaxes(1, 2)
            total += xp.matmul(gy[few].reshape(len(columns), shape[0], -1), rows).sum(axis=0)
        return total

    # The chunks are added up in their order, so the sum does not depend on the number of cores.
    total = xp.zeros((shape[0], shape[1] * size[0] * size[1]), dtype)
    for part in _over_chunks(xp, partial_sum, len(x)):
        total += part
    return total.reshape(shape)


def _over_chunks(xp, function, count):
    chunks = [slice(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    return parallel.for_each(function, chunks) if xp is numpy else [function(chunk) for chunk in chunks]


def _in_buffers(xp, images, canvas_shape, size, out, dtype):
    """(a few of the images as a slice, their canvas, their columns), the same buffers each time."""
    columns_shape = (canvas_shape[0], *size, *out)
    room = max(1, BUFFER // max(1, math.prod(columns_shape) * xp.dtype(dtype).itemsize))
    count = min(room, images.stop - images.start)
    canvas, columns = xp.zeros((count, *canvas_shape), dtype), xp.empty((count, *columns_shape), dtype)
    for start in range(images.start, images.stop, count):
        stop = min(start + count, images.stop)
        yield slice(start, stop), canvas[: stop - start], columns[: stop - start]


def _lay_out(images, canvas, columns, stride, offset, spread):
    """Put images (n, C, H, W) on the canvas and their windows into `columns` (n, C, kh, kw, H', W')."""
    here, there = [], []
    for n, room, o, s in zip(images.shape[2:], canvas.shape[2:], offset, spread, strict=True):
        first = max(0, -(o // s))  # the first pixel that lies on the canvas
        last = max(first, min(n, (room - 1 - o) // s + 1))  # one past the last
        here.append(slice(first, last))
        there.append(slice(o + first * s, max(0, o + (last - 1) * s + 1), s))
    canvas[:, :, there[0], there[1]] = images[:, :, here[0], here[1]]
    (height, width), (down, across) = columns.shape[4:], stride
    for a in range(columns.shape[2]):
        for b in range(columns.shape[3]):
            rows, cols = slice(a, a + (height - 1) * down + 1, down), slice(b, b + (width - 1) * across + 1, across)
            columns[:, :, a, b] = canvas[:, :, rows, cols]


# ---- what is computed, without any hurry ----------------------------------------------------------------------------


def reference_correlate(x, w, stride, offset, spread, span):
    """`correlate` by its definition: one sum for each position of the kernel."""
    (kh, kw), (n, c, height, width) = w.shape[2:], x.shape
    reach = [max(0, o) + (k - 1) * s + 1 + r for o, k, s, r in zip(offset, (height, width), spread, span, strict=True)]
    canvas = numpy.zeros((n, c, reach[0] + kh, reach[1] + kw), x.dtype)
    for i in range(height):
        for j in range(width):
            row, column = offset[0] + i * spread[0], offset[1] + j * spread[1]
            if row >= 0 and column >= 0:
                canvas[:, :, row, column] = x[:, :, i, j]
    positions = [range(0, r, s) for r, s in zip(span, stride, strict=True)]
    y = numpy.empty((n, w.shape[0], len(positions[0]), len(positions[1])), numpy.result_type(x, w))
    for i, row in enumerate(positions[0]):
        for j, column in enumerate(positions[1]):
            window = canvas[:, :, row : row + kh, column : column + kw]
            y[:, :, i, j] = numpy.einsum("ncab,ocab->no", window, w)
    return y


def reference_correlate_over_batch(gy, x, size, stride, offset):
    """`correlate_over_batch` by its definition: one sum for each entry of the kernel."""
    out = gy.shape[2:]
    reach = [max(o + n, (m - 1) * s + k) for o, n, m, s, k in zip(offset, x.shape[2:], out, stride, size, strict=True)]
    canvas = numpy.zeros((*x.shape[:2], *reach), x.dtype)
    canvas[:, :, offset[0] : offset[0] + x.shape[2], offset[1] : offset[1] + x.shape[3]] = x
    w = numpy.empty((gy.shape[1], x.shape[1], *size), numpy.result_type(gy, x))
    for a in range(size[0]):
        for b in range(size[1]):
            seen = canvas[
                :, :, a : a + (out[0] - 1) * stride[0] + 1 : stride[0], b : b + (out[1] - 1) * stride[1] + 1 : stride[1]
            ]
            w[:, :, a, b] = numpy.einsum("noij,ncij->oc", gy, seen)
    return w
