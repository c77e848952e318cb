"""Reductions over axes, and the normalized exponentials built on them.

`axis` is None (all), an int or a tuple; with `keepdims` the reduced axes stay, with size 1.
"""

import builtins
import math

from minigrad.kernels.cuda import channels, pooling
from minigrad.op import op, primitive
from minigrad.ops.elementwise import exp, multiply, square, where
from minigrad.ops.shape import (
    astype,
    broadcast_to,
    getitem,
    normalized_axes,
    reshape,
    stack,
    sum,
    with_reduced_axes,
)

__all__ = [
    "argmax", "log_softmax", "logsumexp", "max", "mean", "min", "norm", "prod", "softmax", "std", "var",
]  # fmt: skip


def _count(x, axis):
    return math.prod(x.shape[a] for a in normalized_axes(axis, x.ndim))


def _mean_rule(g, _y, _x, axis=None, keepdims=False):
    """The same share for every entry."""
    g = with_reduced_axes(g, _x.shape, axis)
    if axis == (2, 3) and pooling.takes(g):
        return pooling.spread_evenly(g, _x.shape[2:], _x.shape[2:], (1, 1))
    return broadcast_to(g * (1 / max_1(_count(_x, axis))), _x.shape)


@primitive(_mean_rule)
def mean(xp, x, axis=None, keepdims=False):
    """The arithmetic mean over `axis`."""
    if axis == (2, 3) and not keepdims and x.ndim == 4 and channels.usable_per_channel(x):
        return channels.means_of_images(x)
    return x.mean(axis=axis, keepdims=keepdims)


def floats(xp, x):
    """`x`, integers as floats: their differences and squares would wrap around."""
    return x.astype(xp.float64) if x.dtype.kind in "biu" else x


def max_1(n):
    """At least 1: the mean of nothing is NaN already, and its gradient has no entries."""
    return n or 1


def _degrees_of_freedom(x, axis, ddof):
    return builtins.max(_count(x, axis) - ddof, 0)  # 0 makes the result NaN, as in NumPy


def var(x, axis=None, keepdims=False, ddof=0):
    """The variance over `axis`: squared deviations from the mean, added up and divided by (count - ddof)."""
    deviation = x - mean(x, axis, keepdims=True)
    return sum(square(deviation), axis, keepdims) / _degrees_of_freedom(x, axis, ddof)


def std(x, axis=None, keepdims=False, ddof=0):
    """The standard deviation over `axis`; where all entries are equal its gradient is taken as 0."""
    deviation = x - mean(x, axis, keepdims=True)
    return norm(deviation, axis, keepdims) / math.sqrt(_degrees_of_freedom(x, axis, ddof))


# ---- extremes -------------------------------------------------------------------------------------------------------


def _extreme_rule(g, y, x, axis=None, keepdims=False):
    """The gradient, split evenly among the entries that attain the extreme."""
    attained = astype(x == with_reduced_axes(y, x.shape, axis), g.dtype)
    return attained * (with_reduced_axes(g, x.shape, axis) / sum(attained, axis, keepdims=True))


@primitive(_extreme_rule)
def max(xp, x, axis=None, keepdims=False):
    """The largest entry over `axis`; among ties the gradient is split evenly."""
    return x.max(axis=axis, keepdims=keepdims)


@primitive(_extreme_rule)
def min(xp, x, axis=None, keepdims=False):
    """The smallest entry over `axis`; among ties the gradient is split evenly."""
    return x.min(axis=axis, keepdims=keepdims)


argmax = op("argmax", "The position of the largest entry along `axis`; the first, if several.",
            lambda xp, x, axis=None: x.argmax(axis=axis), None)  # fmt: skip

# ---- norms and products ---------------------------------------------------------------------------------------------


@primitive(
    lambda g, y, x, axis=None, keepdims=False: (
        x * with_reduced_axes(g / where(y == 0, 1, y), x.shape, axis)  # at x = 0 this is 0, the smallest subgradient
    )
)
def norm(xp, x, axis=None, keepdims=False):
    """The Euclidean norm √Σx² over `axis`; its gradient at 0 is taken as 0."""
    x = floats(xp, x)
    return xp.sqrt((x * x).sum(axis=axis, keepdims=keepdims, dtype=x.dtype))


def _product_rule(g, _y, x, axis=None, keepdims=False):
    """Each entry's gradient is the product of all others, from running products: exact with zeros among them."""
    axes = normalized_axes(axis, x.ndim)
    if not axes or 0 in x.shape:
        return broadcast_to(with_reduced_axes(g, x.shape, axis), x.shape) + x * 0
    # Bring the reduced axes to the front, flattened into one.
    order = (*axes, *(a for a in range(x.ndim) if a not in axes))
    moved = x.transpose(order)
    entries = reshape(moved, (-1, *moved.shape[len(axes) :]))
    factors = [getitem(entries, i) for i in range(entries.shape[0])]
    before, after = [factors[0] * 0 + 1], [factors[0] * 0 + 1]
    for first, last in zip(factors[:-1], factors[:0:-1], strict=True):
        before.append(before[-1] * first)
        after.append(after[-1] * last)
    others = stack([multiply(b, a) for b, a in zip(before, reversed(after), strict=True)])
    inverse = sorted(range(x.ndim), key=order.__getitem__)
    return reshape(others, moved.shape).transpose(inverse) * with_reduced_axes(g, x.shape, axis)


@primitive(_product_rule)
def prod(xp, x, axis=None, keepdims=False):
    """The product over `axis`."""
    return x.prod(axis=axis, keepdims=keepdims)


# ---- normalized exponentials: the largest entry is taken out first, so that exp cannot overflow --------------------


@primitive(
    lambda g, y, x, axis=-1, keepdims=False: (
        with_reduced_axes(g, x.shape, axis) * exp(x - with_reduced_axes(y, x.shape, axis))
    )
)
def logsumexp(xp, x, axis=-1, keepdims=False):
    """log Σ exp(x) over `axis` (the last by default)."""
    x = floats(xp, x)
    largest = x.max(axis=axis, keepdims=True)
    largest = xp.where(xp.isfinite(largest), largest, 0)
    result = xp.log(xp.exp(x - largest).sum(axis=axis, keepdims=True)) + largest
    return result if keepdims else result.reshape(x.sum(axis=axis).shape)


@primitive(lambda g, y, _x, axis=-1: y * (g - sum(g * y, axis, keepdims=True)))
def softmax(xp, x, axis=-1):
    """exp(x) / Σ exp(x) along `axis` (the last by default)."""
    x = floats(xp, x)
    e = xp.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


@primitive(lambda g, y, _x, axis=-1: g - exp(y) * sum(g, axis, keepdims=True))
def log_softmax(xp, x, axis=-1):
    """x - log Σ exp(x) along `axis` (the last by default)."""
    x = floats(xp, x)
    shifted = x - x.max(axis=axis, keepdims=True)
    return shifted - xp.log(xp.exp(shifted).sum(axis=axis, keepdims=True))
