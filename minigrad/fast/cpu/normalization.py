"""Batch normalization on the CPU in as few passes over memory as it needs: two forward, two backward.

An array (N, C) or (N, C, H, W) is looked at as a matrix whose rows all have the same pattern of channels, whether the
channels of a place are neighbours in memory, as the convolutions leave them, or the places of a channel. Blocks of rows
that fit into the cache are spread over the cores, and all that is done with a block is done while it is there. Sums
over the rows are products with a row of ones.
"""

import math
from typing import NamedTuple

import numpy

from minigrad.fast.batch_norm import faster_batch_norm
from minigrad.fast.cpu import parallel
from minigrad.fast.replace import faster

LARGE_MEAN = 10.0  # deviations
MANY = 2**14  # entries from which on a sum is worth what setting it up costs
BLOCK = 2**19  # entries at a time, fixed, so that sums do not depend on the number of cores
WIDTH = 1024  # entries a row should have at least: NumPy's innermost loop goes along it, and starting that takes time


def moments(x):
    """Mean and (biased) variance of each channel, (C,) each.

    Each block has its own mean m_b and sum of squared deviations from it; with n_b rows in it, the variance is
    (Σ_b n_b (m_b - mean)² + Σ_b squares_b) / Σ_b n_b. Nothing is lost where the mean is large beside the deviation.
    """
    pattern = _pattern(x)
    rows = pattern.rows(x)

    def of_block(block):
        few = rows[block]
        count = pattern.count(few)
        mean = pattern.sums(few) / count
        deviation = few - pattern.along_a_row(mean)
        squares = pattern.sums(numpy.square(deviation, out=deviation))
        if (squares < LARGE_MEAN**-2 * count * mean**2).any():  # then what rounding left in the mean is no longer small
            left = (pattern.sums(few - pattern.along_a_row(mean)) / count).astype(float)
            mean, squares = mean + left, squares - count * left**2
        return mean, squares

    found = zip(*_over_blocks(of_block, rows), strict=True)
    means, squares = (numpy.array(parts, numpy.result_type(x, float)) for parts in found)
    counts = numpy.array([[pattern.count(rows[block])] for block in _blocks(rows)])
    total = counts.sum()
    mean = (counts * means).sum(axis=0) / total
    variance = (squares + counts * (means - mean) ** 2).sum(axis=0) / total
    return mean.astype(x.dtype), variance.astype(x.dtype)


def sums(x):
    """The sum of each channel, (C,): of blocks, which are added up in float64."""
    pattern = _pattern(x)
    rows = pattern.rows(x)
    blocks = _over_blocks(lambda block: pattern.sums(rows[block]), rows)
    return numpy.sum(blocks, axis=0, dtype=numpy.float64)


def mean(x):
    """The mean of each channel, (C,)."""
    return (sums(x) / (x.size // x.shape[1])).astype(x.dtype)


def normalized(x, mean, scale, shift):
    """(x - mean) · scale + shift, with a number of each for each channel."""
    pattern = _pattern(x)
    rows = pattern.rows(x)
    mean, scale, shift = map(pattern.along_a_row, (mean, scale, shift))
    y = numpy.empty(rows.shape, numpy.result_type(rows, scale, shift))

    def fill(block):
        out = numpy.subtract(rows[block], mean, out=y[block])
        out *= scale
        out += shift

    _over_blocks(fill, rows)
    return pattern.array(y, x)


def normalized_gradients(g, x, mean, inverse, weight):
    """The gradients of (x - mean[x]) · inverse[x] · weight + bias for x, weight and bias; inverse is 1/deviation."""
    pattern = _pattern(x)
    rows, gradients, means = pattern.rows(x), pattern.rows(g), pattern.along_a_row(mean)

    def sums(block):
        products = rows[block] - means
        products *= gradients[block]
        return pattern.sums(gradients[block]), pattern.sums(products)

    of_g, of_products = (sum(parts) for parts in zip(*_over_blocks(sums, rows), strict=True))
    grad_weight, count = of_products * inverse, pattern.count(rows)
    # weight · inverse · (g - of_g/n - x̂ · grad_weight/n) with x̂ = (x - mean) · inverse, as a · g + b · (x - mean) + c
    a = weight * inverse
    b, c = -a * inverse * grad_weight / count, -a * of_g / count
    a, b, c = map(pattern.along_a_row, (a, b, c))
    grad_x = numpy.empty_like(rows)

    def fill(block):
        out = numpy.subtract(rows[block], means, out=grad_x[block])
        out *= b
        out += c
        out += gradients[block] * a

    _over_blocks(fill, rows)
    return pattern.array(grad_x, x), grad_weight, of_g


class _Pattern(NamedTuple):
    """A row holds every channel `repeat` times over, each time with `together` places of it side by side."""

    repeat: int
    channels: int
    together: int
    order: tuple  # the axes as they follow each other in memory

    def rows(self, x):
        """x as a matrix of such rows; a copy only if its memory is arranged otherwise."""
        return numpy.ascontiguousarray(x.transpose(self.order)).reshape(-1, math.prod(self[:3]))

    def array(self, rows, like):
        """Rows as an array again, of the shape of another."""
        return rows.reshape([like.shape[axis] for axis in self.order]).transpose(numpy.argsort(self.order))

    def along_a_row(self, numbers):
        """One number for each channel, set out along a row."""
        return numpy.broadcast_to(numbers[:, None], self[:3]).reshape(-1)

    def sums(self, rows):
        """The sum over each channel's entries."""
        return (numpy.ones(len(rows), rows.dtype) @ rows).reshape(self[:3]).sum(axis=(0, 2))

    def count(self, rows):
        """How many entries of each channel there are."""
        return len(rows) * self.repeat * self.together


def _pattern(x):
    places, channels = x.size // x.shape[1], x.shape[1]
    if x.ndim == 4 and x.flags.c_contiguous:
        return _Pattern(1, channels, x.shape[2] * x.shape[3], (0, 1, 2, 3))
    repeat = 1
    while repeat * channels < WIDTH and places % (2 * repeat) == 0:
        repeat *= 2
    return _Pattern(repeat, channels, 1, (0, *range(2, x.ndim), 1))


def _blocks(rows):
    size = max(1, BLOCK // rows.shape[1])
    return [slice(start, start + size) for start in range(0, len(rows), size)]


def _over_blocks(function, rows):
    return parallel.for_each(function, _blocks(rows))


def _takes(x, *_others):
    return isinstance(x, numpy.ndarray) and x.ndim > 1 and x.size and x.dtype.char in "fd"


def _sum_of_each_channel(plain):
    """Of images: NumPy's own sum goes from pixel to pixel, and takes ten times as long where channels are few."""

    def run(xp, x, axis=None, keepdims=False):
        if axis == (0, 2, 3) and not keepdims and _takes(x) and x.size >= MANY and x.ndim == 4:
            return sums(x).astype(x.dtype)
        return plain(xp, x, axis, keepdims)

    return run


def _of_all_or_of_each_channel(plain):
    """The mean of all entries as their sum, divided: for small arrays NumPy's own takes three times as long."""

    def run(xp, x, axis=None, keepdims=False):
        if _takes(x):
            if axis is None:
                return numpy.add.reduce(x, None, keepdims=keepdims) / x.size
            if not keepdims and axis == tuple([i for i in range(x.ndim) if i != 1]):
                return mean(x)
        return plain(xp, x, axis, keepdims)

    return run


faster("sum", "cpu", _sum_of_each_channel)
faster("mean", "cpu", _of_all_or_of_each_channel)
faster_batch_norm(
    "cpu",
    _takes,
    moments,
    normalized,
    normalized_gradients,
)
