"""How convolutions are computed fast, on the CPU. The batch is cut into chunks of a fixed size, which are spread over
the cores, and a chunk into a few images at a time, so that whatever is made of them stays in cache.

- 3×3 kernels in float32: Winograd's algorithm, winograd.py.
- Everything else: the windows are laid out as the rows of a matrix (im2col), and a matrix product does the rest.

Results have the shape (N, C, H, W), but in memory the channels of a pixel are neighbours: both ways copy whole pixels
then, and NumPy's other functions keep the order that they find.

The plain versions of both functions, `reference_*`, say what is computed; tests compare the two.
"""

import contextlib
import math
import threading

import numpy

from minigrad import parallel
from minigrad.kernels import winograd
from minigrad.kernels.cuda import convolution as cuda
from minigrad.kernels.cuda import cudnn

CHUNK = 10  # images at most: few enough to balance the cores, enough that weight gradients have few partial sums
CHUNKS = 4  # and where there are several, always a multiple of this: then 2 or 4 cores have equal shares
WORTH = 2**24  # products of two numbers that a chunk should have at least: many times what handing it over costs
BUFFER = 2**21  # bytes of windows at a time, if one image's are fewer: large enough to amortize Python's overhead
TILES, TILES_OVER_BATCH = 64, 256  # Winograd's tiles at a time; more where every time 36 matrices have to be added up
CHANNELS = 48  # with fewer on either side, Winograd's transforms cost about what they save


class _State(threading.local):
    fast = True  # whether this thread may use Winograd's algorithm, or on a GPU TF32


_state = _State()


@contextlib.contextmanager
def plain():
    """Within this, float32 takes the plain way too (in this thread): for its smaller error, or to compare.

    On a GPU it does without TF32, see kernels/cuda/convolution.py.
    """
    before, _state.fast = _state.fast, False
    try:
        yield
    finally:
        _state.fast = before


def precision():
    """What decides how exactly float32 convolutions of this thread are computed, as a value to compare."""
    return _state.fast, cuda.TF32, cudnn.wanted()


def correlate(xp, x, w, stride, offset, spread, span, bias=None):
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
    bias : (O,) array, optional
        Added to each channel of the result.

    Returns
    -------
    (N, O, ⌈span/stride⌉, …) array
    """
    if xp is not numpy:
        return cuda.correlate(xp, x, w, stride, offset, spread, span, bias, _state.fast)
    out = tuple((n - 1) // s + 1 for n, s in zip(span, stride, strict=True))
    dtype = numpy.result_type(x, w) if bias is None else numpy.result_type(x, w, bias)
    y, x = numpy.empty((x.shape[0], *out, w.shape[0]), dtype), x.transpose(0, 2, 3, 1)
    if not y.size:
        return y.transpose(0, 3, 1, 2)
    if _by_winograd(w.shape, dtype, stride, spread):
        weight = parallel.for_each(winograd.transformed, [w.astype(dtype, copy=False)])[0]

        def filled(images):
            for few in _few(images, _tiles_in(out), TILES):
                winograd.correlate(x[few], weight, y[few], offset)
                yield few
    else:
        matrix = numpy.ascontiguousarray(w.transpose(2, 3, 1, 0).reshape(-1, w.shape[0])).astype(dtype, copy=False)

        def filled(images):
            for few, rows in _windows(x, images, w.shape[2:], out, stride, offset, spread, dtype):
                numpy.matmul(rows, matrix, out=y[few].reshape(len(rows), len(w)))
                yield few

    def convolve(images):
        for few in filled(images):
            if bias is not None:  # now, while they are in cache
                y[few] += bias

    _over_chunks(convolve, len(x), y.size * math.prod(w.shape[1:]))
    return y.transpose(0, 3, 1, 2)


def correlate_over_batch(xp, gy, x, size, stride, offset):
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
    if xp is not numpy:
        return cuda.correlate_over_batch(xp, gy, x, size, stride, offset, _state.fast)
    shape = (gy.shape[1], x.shape[1], *size)
    dtype = numpy.result_type(gy, x)
    out = gy.shape[2:]
    gy, x = gy.transpose(0, 2, 3, 1), x.transpose(0, 2, 3, 1)
    if not math.prod(shape) * gy.size:
        return numpy.zeros(shape, dtype)
    if _by_winograd(shape, dtype, stride, (1, 1)):

        def partial_sum(images):
            parts = (winograd.correlate_over_batch(gy[few], x[few], offset)
                     for few in _few(images, _tiles_in(out), TILES_OVER_BATCH))  # fmt: skip
            return winograd.transformed_back(_sum(parts), shape)
    else:

        def partial_sum(images):
            parts = (gy[few].reshape(len(rows), shape[0]).T @ rows
                     for few, rows in _windows(x, images, size, out, stride, offset, (1, 1), dtype))  # fmt: skip
            return _sum(parts).reshape(shape[0], *size, shape[1]).transpose(0, 3, 1, 2)

    # The chunks are added up in their order, so the sum does not depend on the number of cores.
    return numpy.ascontiguousarray(_sum(_over_chunks(partial_sum, len(x), gy.size * math.prod(shape[1:]))))


def _by_winograd(shape, dtype, stride, spread):
    """Whether Winograd's algorithm can compute a convolution with a weight of this shape, and is worth it."""
    return (_state.fast and dtype == numpy.float32 and shape[2:] == (3, 3) and stride == (1, 1)
            and spread == (1, 1) and min(shape[:2]) >= CHANNELS)  # fmt: skip


def _tiles_in(out):
    return math.prod(-(-size // winograd.TILE) for size in out)


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


def _windows(x, images, size, out, stride, offset, spread, dtype):
    """(a few of the images as a slice, their windows as the rows of a matrix (n·H'·W', kh·kw·C))."""
    channels = x.shape[-1]
    canvas_shape = [(n - 1) * s + k for n, s, k in zip(out, stride, size, strict=True)]
    width = math.prod(size) * channels
    for few in _few(images, math.prod(out) * width * numpy.dtype(dtype).itemsize, BUFFER):
        if x.shape[1:3] == tuple(canvas_shape) and offset == (0, 0) and spread == (1, 1):
            canvas = x[few].astype(dtype, copy=False)
        else:
            canvas = numpy.zeros((few.stop - few.start, *canvas_shape, channels), dtype)
            winograd.place(x[few], canvas, offset, spread)
        windows = numpy.lib.stride_tricks.sliding_window_view(canvas, size, axis=(1, 2))[:, :: stride[0], :: stride[1]]
        rows = (few.stop - few.start) * math.prod(out)
        yield few, numpy.ascontiguousarray(windows.transpose(0, 1, 2, 4, 5, 3)).reshape(rows, width)


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
