"""Batch normalization on the CPU in as few passes over memory as it needs: two forward, two backward.

An array (N, C) or (N, C, H, W) is looked at as a matrix with a row for each place and a column for each channel, which
is how the convolutions leave it in memory. Blocks of rows that fit into the cache are spread over the cores, and all
that is done with a block is done while it is there. Sums over the rows are products with a row of ones.
"""

import numpy

from minigrad import parallel

BLOCK = 2**19  # entries at a time, fixed, so that sums do not depend on the number of cores
WIDTH = 1024  # entries a row should have at least: NumPy's innermost loop goes along it, and starting that takes time


def moments(x):
    """Mean and (biased) variance of each channel, (C,) each.

    Each block has its own mean m_b and sum of squared deviations from it; with n_b rows in it, the variance is
    (Σ_b n_b (m_b - mean)² + Σ_b squares_b) / Σ_b n_b. Nothing is lost where the mean is large beside the deviation.
    """
    (rows,), repeat = _wide(x)

    def of_block(block):
        few = rows[block]
        mean = _column_sums(few, repeat) / (len(few) * repeat)
        deviation = few - numpy.tile(mean, repeat)
        return mean, _column_sums(numpy.square(deviation, out=deviation), repeat)

    found = zip(*_over_blocks(of_block, rows), strict=True)
    means, squares = (numpy.array(parts, numpy.result_type(x, float)) for parts in found)
    counts = numpy.array([[len(rows[block]) * repeat] for block in _blocks(rows)])
    total = counts.sum()
    mean = (counts * means).sum(axis=0) / total
    variance = (squares + counts * (means - mean) ** 2).sum(axis=0) / total
    return mean.astype(x.dtype), variance.astype(x.dtype)


def normalized(x, mean, scale, shift):
    """(x - mean) · scale + shift, with a number of each for each channel."""
    (rows,), repeat = _wide(x)
    mean, scale, shift = (numpy.tile(numbers, repeat) for numbers in (mean, scale, shift))
    y = numpy.empty(rows.shape, numpy.result_type(rows, scale, shift))

    def fill(block):
        out = numpy.subtract(rows[block], mean, out=y[block])
        out *= scale
        out += shift

    _over_blocks(fill, rows)
    return _as_before(y, x)


def normalized_gradients(g, x, mean, inverse, weight):
    """The gradients of (x - mean[x]) · inverse[x] · weight + bias for x, weight and bias; inverse is 1/deviation."""
    (rows, gradients), repeat = _wide(x, g)
    means = numpy.tile(mean, repeat)

    def sums(block):
        products = rows[block] - means
        products *= gradients[block]
        return _column_sums(gradients[block], repeat), _column_sums(products, repeat)

    of_g, of_products = (sum(parts) for parts in zip(*_over_blocks(sums, rows), strict=True))
    grad_weight, count = of_products * inverse, len(rows) * repeat
    # weight · inverse · (g - of_g/n - x̂ · grad_weight/n) with x̂ = (x - mean) · inverse, as a · g + b · (x - mean) + c
    a = weight * inverse
    b, c = -a * inverse * grad_weight / count, -a * of_g / count
    a, b, c = (numpy.tile(numbers, repeat) for numbers in (a, b, c))
    grad_x = numpy.empty_like(rows)

    def fill(block):
        out = numpy.subtract(rows[block], means, out=grad_x[block])
        out *= b
        out += c
        out += gradients[block] * a

    _over_blocks(fill, rows)
    return _as_before(grad_x, x), grad_weight, of_g


def _wide(*arrays):
    """The arrays as matrices (N·H·W / repeat, repeat · C), and `repeat`: so many places stand side by side in a row.

    They are copied, unless the channels of a place are neighbours in memory.
    """
    rows = [numpy.ascontiguousarray(x.transpose(0, *range(2, x.ndim), 1)).reshape(-1, x.shape[1]) for x in arrays]
    places, channels = rows[0].shape
    repeat = 1
    while repeat * channels < WIDTH and places % (2 * repeat) == 0:
        repeat *= 2
    return [x.reshape(-1, repeat * channels) for x in rows], repeat


def _as_before(rows, x):
    n, channels, *image = x.shape
    return rows.reshape(n, *image, channels).transpose(0, x.ndim - 1, *range(1, x.ndim - 1))


def _blocks(rows):
    size = max(1, BLOCK // rows.shape[1])
    return [slice(start, start + size) for start in range(0, len(rows), size)]


def _over_blocks(function, rows):
    return parallel.for_each(function, _blocks(rows))


def _column_sums(rows, repeat):
    return (numpy.ones(len(rows), rows.dtype) @ rows).reshape(repeat, -1).sum(axis=0)
