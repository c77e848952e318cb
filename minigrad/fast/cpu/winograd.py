"""3×3 convolutions with a quarter of the multiplications: Winograd's minimal filtering (Lavin & Gray 2016).

To multiply two polynomials one may multiply their values at enough points, and interpolate. A filter of 3 taps, seen
from 4 neighbouring outputs, needs 6 points, one of them at infinity: 6 multiplications instead of 12. Along rows and
columns, for a tile of 4×4 outputs, that makes 36 instead of 144:

    Y = Aᵀ [(G w Gᵀ) ⊙ (Bᵀ d B)] A        w (3, 3); d (6, 6), what the tile sees of the input; Y (4, 4)

With many channels, the product ⊙ is a product of matrices, (tiles, C) times (C, O), at each of the 36 points.

The price is rounding, since the values at the points are larger than the result: in float32 the error is about ten
times that of the plain sum. float64, which is chosen for its digits, never takes this way, and within
`mg.config(winograd=False)` float32 does not either.

And an output is rounded like the largest pixel of its whole tile, not of the 3×3 pixels that it sees. So an image takes
this way only if it is `even`; the others, and those with NaN or inf, are convolved the plain way.
"""

import functools
import math

import numpy
from numpy.lib.stride_tricks import as_strided
from numpy.polynomial import polynomial

from minigrad.fast.cpu import memory

TILE, TAPS = 4, 3
POINTS = TILE + TAPS - 1
EVEN = 16.0  # in training on pictures one image or gradient in five hundred is above 16, half of them below 2
ENLARGED = 1200  # how many times the product of pixel and kernel a number on the way may be: (Σ|A| ‖G‖ |B|)² = 1163
LEAST = 1e-36  # a sum of squares below this may have lost digits at the end of the range of float32


def _matrices(finite):
    """Aᵀ (4, 6), G (6, 3) and Bᵀ (6, 6) for these points and infinity, after Toom and Cook."""
    a, g, b = numpy.zeros((POINTS, TILE)), numpy.zeros((POINTS, TAPS)), numpy.zeros((POINTS, POINTS))
    for i, point in enumerate(finite):
        others = [p for p in finite if p != point]
        a[i] = point ** numpy.arange(TILE)
        g[i] = point ** numpy.arange(TAPS) / math.prod(point - p for p in others)
        b[i, :-1] = polynomial.polyfromroots(others)
    a[-1, -1] = g[-1, -1] = 1
    b[-1] = polynomial.polyfromroots(finite)
    return a.T.astype(numpy.float32), g.astype(numpy.float32), b.astype(numpy.float32)


A_T, G, B_T = _matrices(numpy.array([0.0, 1, -1, 2, -2]))


def tile_count(out):
    """How many tiles cover `out` positions of an image."""
    return math.prod(-(-size // TILE) for size in out)


def even(images, out, offset, most):
    """Which images (n, H, W, C), seen from `out` positions, have no window that is small beside a pixel of its tile.

    Size is the norm over all channels, of the largest pixel of a tile and of the smallest 3×3 window in it, and small
    is less than 1/EVEN. A window of nothing but zeros is small, too; and no pixel may be larger than `most`.
    """
    limit = numpy.float32(min(most, 1e18)) ** 2

    def fine(largest, smallest):
        return (smallest >= LEAST) & (largest <= EVEN**2 * smallest) & (largest <= limit)

    with numpy.errstate(all="ignore"):
        single = images.astype(numpy.float32, copy=False)
        axes = zip(single.shape[1:3], offset, out, strict=True)
        if all(n % 2 == 0 and 0 <= first <= 1 and size - first < n for n, first, size in axes):
            beside = single.reshape(*single.shape[:2], -1, 2 * single.shape[3])
            pairs = numpy.vecdot(beside, beside)
            blocks = pairs[:, ::2] + pairs[:, 1::2]  # 2×2; a window holds one, wherever it lies
            at_once = fine(blocks.max(axis=(1, 2)), blocks.min(axis=(1, 2)))
            if at_once.all():
                return at_once
        pixels = numpy.vecdot(single, single)
        grid = [-(-size // TILE) for size in out]
        squares = numpy.zeros((len(images), *((n - 1) * TILE + POINTS for n in grid), 1), numpy.float32)
        place(pixels[..., None], squares, offset)
        largest = _of_squares(numpy.maximum, squares[..., 0], POINTS, TILE)
        windows = _of_squares(numpy.add, squares[..., 0], TAPS, 1)
        windows[:, out[0] :] = windows[:, :, out[1] :] = numpy.inf  # nobody asks for these
        return fine(largest, _of_squares(numpy.minimum, windows, TILE, TILE)).all(axis=(1, 2))


def largest_pixel(w):
    """How large a pixel may be that w (O, C, 3, 3) is correlated with, so that nothing overflows on the way.

    0 if a kernel is zero, so small that G w Gᵀ loses its digits, or not finite.
    """
    flat = w.reshape(len(w), -1).astype(numpy.float32, copy=False)
    with numpy.errstate(all="ignore"):
        squares = numpy.vecdot(flat, flat)
    fine = ((squares >= LEAST) & (squares < numpy.inf)).all()
    return float(1e38 / ENLARGED / math.sqrt(squares.max())) if fine else 0.0


def _of_squares(combined, images, size, step):
    """What the squares of `size` that begin at every `step`-th row and column of images (n, H, W) come to together."""
    height, width = (n - size + 1 for n in images.shape[1:])
    rows = functools.reduce(combined, (images[:, k : k + height : step] for k in range(size)))
    return functools.reduce(combined, (rows[:, :, k : k + width : step] for k in range(size)))


def on_canvas(images, out, offset, size=POINTS, name="canvas"):
    """The images (n, H, W, C) on a canvas of zeros that the tiles of `out` positions, `size` large, cover exactly.

    `offset` rows and columns of zeros come before the images; if negative, so many are left out. In scratch, float32.
    """
    height, width = ((-(-n // TILE) - 1) * TILE + size for n in out)
    if offset == (0, 0) and images.shape[1:3] == (height, width) and images.dtype == numpy.float32:
        return images
    canvas = memory.scratch(name, (len(images), height, width, images.shape[-1]), numpy.float32)
    canvas.fill(0)
    place(images, canvas, offset)
    return canvas


def correlate(canvas, weight, bias, y):
    """Write into `y` (n, H', W', O) the images on a canvas correlated with a transformed weight (36, C, O).

    Plus a `bias` (O,), if it is not None.
    """
    n, *out, outputs = y.shape
    grid = [-(-size // TILE) for size in out]
    values = _both_ways(B_T, _tiles(canvas, grid, POINTS))
    products = memory.scratch("products", (POINTS * POINTS, values.shape[1], outputs), y.dtype)
    tiles = _both_ways(A_T, numpy.matmul(values, weight, out=products)).reshape(TILE, TILE, n, *grid, outputs)
    tiles = tiles.transpose(2, 3, 0, 4, 1, 5)
    if all(size % TILE == 0 for size in out):
        y = y.reshape(tiles.shape)
    else:
        tiles = tiles.reshape(n, grid[0] * TILE, grid[1] * TILE, outputs)[:, : out[0], : out[1]]
    if bias is None:
        y[...] = tiles
    else:
        numpy.add(tiles, bias, out=y)


def correlate_over_batch(gy, canvas):
    """The gradient of `correlate` for its transformed weight, (36, C, O), from that for y, gy (n, H', W', O)."""
    out = gy.shape[1:3]
    grid = [-(-size // TILE) for size in out]
    values = _both_ways(B_T, _tiles(canvas, grid, POINTS))
    gy = on_canvas(gy, out, (0, 0), TILE, "canvas of gy")
    gradients = _both_ways(A_T.T, _tiles(gy, grid, TILE, "products"), "products")  # where the other way's products lie
    return numpy.matmul(values.swapaxes(1, 2), gradients)


def transformed(w):
    """G w Gᵀ for w (O, C, 3, 3): (36, C, O)."""
    return _both_ways(G, w.transpose(2, 3, 1, 0), name=None)


def transformed_back(gradient, shape):
    """Gᵀ · G, the transpose of `transformed`: from (36, C, O) to (O, C, 3, 3)."""
    outputs, channels = shape[:2]
    back = _both_ways(G.T, gradient.reshape(POINTS, POINTS, channels, outputs), name=None)
    return back.reshape(TAPS, TAPS, channels, outputs).transpose(3, 2, 0, 1)


def _both_ways(matrix, tiles, name="values"):
    """matrix · tile · matrixᵀ for every tile: from (k, k, …, C) to (m², everything between, C).

    In scratch of this name, or in memory of its own.
    """
    m, k = matrix.shape
    rows = memory.scratch("rows", (m, tiles.size // k), tiles.dtype)
    shape = m, m, tiles.size // (k * k)
    both = numpy.empty(shape, tiles.dtype) if name is None else memory.scratch(name, shape, tiles.dtype)
    numpy.matmul(matrix, tiles.reshape(k, -1), out=rows)
    numpy.matmul(matrix, rows.reshape(m, k, -1), out=both)
    return both.reshape(m * m, -1, tiles.shape[-1])


def _tiles(canvas, grid, size, name="values"):
    """The squares of `size` that begin at every fourth row and column, (size, size, n, *grid, C).

    In scratch, where `_both_ways` with the same name puts its result: the tiles are used up by then.
    """
    tiles = memory.scratch(name, (size, size, len(canvas), *grid, canvas.shape[-1]), canvas.dtype)
    tiles[...] = windows(canvas, (size, size), (TILE, TILE), grid).transpose(3, 4, 0, 1, 2, 5)
    return tiles


def windows(canvas, size, stride, count):
    """A view of `canvas` (n, H, W, C): `count` windows of `size`, `stride` apart, as (n, *count, *size, C)."""
    image, row, column, channel = canvas.strides
    shape = (len(canvas), *count, *size, canvas.shape[-1])
    return as_strided(canvas, shape, (image, stride[0] * row, stride[1] * column, row, column, channel))


def place(images, canvas, offset, dilation=(1, 1)):
    """Put images (n, H, W, C) on a canvas (n, H', W', C), `offset` from its corner, their pixels `dilation` apart."""
    here, there = [], []
    for n, room, o, s in zip(images.shape[1:3], canvas.shape[1:3], offset, dilation, strict=True):
        first = max(0, -(o // s))  # the first pixel that lies on the canvas
        last = max(first, min(n, (room - 1 - o) // s + 1))  # one past the last
        here.append(slice(first, last))
        there.append(slice(o + first * s, max(0, o + (last - 1) * s + 1), s))
    canvas[:, there[0], there[1]] = images[:, here[0], here[1]]
