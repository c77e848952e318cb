"""How convolutions are computed fast, on the CPU: each image's windows are laid out as columns (im2col) in a buffer
that is reused for the next image, so that it stays in cache, and one matrix product does the rest. The batch is cut
into chunks of a fixed size, which are spread over the cores.

The plain versions of both functions, `reference_*`, say what is computed; tests compare the two.
"""

import numpy

from minigrad import parallel

CHUNK = 8  # images: enough chunks for every core, few enough that the partial sums of weight gradients stay small


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
        canvas, columns = _buffers(xp, canvas_shape, w.shape[2:], out, y.dtype)
        for n in images:
            _lay_out(x[n], canvas, columns, stride, offset, spread)
            xp.matmul(matrix, columns.reshape(matrix.shape[1], -1), out=y[n].reshape(len(matrix), -1))

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
    out = gy.shape[2:]
    span = tuple((n - 1) * s + 1 for n, s in zip(out, stride, strict=True))
    canvas_shape = (x.shape[1], span[0] + size[0] - 1, span[1] + size[1] - 1)

    def partial_sum(images):
        canvas, columns = _buffers(xp, canvas_shape, size, out, dtype)
        total = xp.zeros((shape[0], shape[1] * size[0] * size[1]), dtype)
        for n in images:
            _lay_out(x[n], canvas, columns, stride, offset, (1, 1))
            total += gy[n].reshape(shape[0], -1) @ columns.reshape(total.shape[1], -1).T
        return total

    # The chunks are added up in their order, so the sum does not depend on the number of cores.
    total = xp.zeros((shape[0], shape[1] * size[0] * size[1]), dtype)
    for part in _over_chunks(xp, partial_sum, len(x)):
        total += part
    return total.reshape(shape)


def _over_chunks(xp, function, count):
    chunks = [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    return parallel.for_each(function, chunks) if xp is numpy else [function(chunk) for chunk in chunks]


def _buffers(xp, canvas_shape, size, out, dtype):
    return xp.zeros(canvas_shape, dtype), xp.empty((canvas_shape[0], *size, *out), dtype)


def _lay_out(image, canvas, columns, stride, offset, spread):
    """Put one image (C, H, W) on the canvas and its windows into `columns` (C, kh, kw, H', W')."""
    here, there = [], []
    for n, room, o, s in zip(image.shape[1:], canvas.shape[1:], offset, spread, strict=True):
        first = max(0, -(o // s))  # the first pixel that lies on the canvas
        last = min(n, (room - 1 - o) // s + 1)
        here.append(slice(first, max(first, last)))
        there.append(slice(o + first * s, o + (max(first, last) - 1) * s + 1 if last > first else o + first * s, s))
    canvas[:, there[0], there[1]] = image[:, here[0], here[1]]
    height, width = columns.shape[3:]
    for a in range(columns.shape[1]):
        for b in range(columns.shape[2]):
            columns[:, a, b] = canvas[
                :, a : a + (height - 1) * stride[0] + 1 : stride[0], b : b + (width - 1) * stride[1] + 1 : stride[1]
            ]


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
