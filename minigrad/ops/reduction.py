"""Reductions over axes, and the normalized exponentials built on them.

`axis` is None (all), an int or a tuple; with `keepdims` the reduced axes stay, with size 1.
"""

import builtins
import math

import numpy

from minigrad import backend, hints
from minigrad.op import op, primitive
from minigrad.ops.elementwise import exp, multiply, square, where
from minigrad.ops.shape import (
    astype,
    broadcast_to,
    concatenate,
    getitem,
    normalized_axes,
    reshape,
    stack,
    sum,
    with_reduced_axes,
)

__all__ = ["argmax", "log_softmax", "logsumexp", "max", "mean", "min", "norm", "prod", "softmax", "std", "var"]


def _count(x, axis):
    return math.prod(x.shape if axis is None else [x.shape[a] for a in normalized_axes(axis, x.ndim)])


@primitive(
    lambda g, _y, _x, axis=None, keepdims=False: broadcast_to(
        with_reduced_axes(g, _x.shape, axis) * (1 / (_count(_x, axis) or 1)), _x.shape
    )
)
def mean(xp, x, axis=None, keepdims=False):
    """The arithmetic mean over `axis`; of nothing it is NaN."""
    if xp is numpy and x.dtype.char == "f":  # along a first axis NumPy adds up one after the other: 0.1 becomes 0.096
        return x.mean(axis, numpy.float64, keepdims=keepdims).astype(numpy.float32)
    return x.mean(axis=axis, keepdims=keepdims)


def floats(xp, x):
    """`x` itself, or as float64 if it holds integers, whose squares and differences would wrap around."""
    return x.astype(xp.float64) if x.dtype.kind in "biu" else x


def _degrees_of_freedom(x, axis, ddof):
    return builtins.max(_count(x, axis) - ddof, 0)  # 0 makes the result NaN, as in NumPy


@hints.other_words
def var(x, axis=None, keepdims=False, ddof=0):
    """The variance over `axis`: squared deviations from the mean, added up and divided by (count - ddof)."""
    deviation = x - mean(x, axis, keepdims=True)
    return sum(square(deviation), axis, keepdims) / _degrees_of_freedom(x, axis, ddof)


@hints.other_words
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


argmax = op("argmax", "The position of the largest entry along `axis`; of several, the first.", lambda xp, x, axis=None:
            x.argmax(axis=axis), None)  # fmt: skip

# ---- norms and products ---------------------------------------------------------------------------------------------


@primitive(
    lambda g, y, x, axis=None, keepdims=False: (
        x * with_reduced_axes(g / where(y == 0, 1, y), x.shape, axis)  # at x = 0 this is 0, the smallest subgradient
    )
)
def norm(xp, x, axis=None, keepdims=False):
    """The Euclidean norm √Σx² over `axis`; its gradient at 0 is taken as 0."""
    x = floats(xp, x)
    scale = _largest(xp, xp.abs(x), axis)  # taken out first, so that no square overflows or becomes 0
    scale = xp.where((scale > 0) & xp.isfinite(scale), scale, 1).astype(scale.dtype)
    x = x / scale
    result = xp.sqrt((x * x).sum(axis=axis, keepdims=True)) * scale
    return result if keepdims else xp.squeeze(result, normalized_axes(axis, x.ndim))


def _largest(xp, x, axis):
    """The largest entry over `axis`, which stays; of nothing 0."""
    return x.max(axis=axis, keepdims=True) if x.size else x.sum(axis=axis, keepdims=True)


def _product_rule(g, _y, x, axis=None, keepdims=False):
    """Each entry's gradient is the product of all the others: right also where some are zero."""
    axes = normalized_axes(axis, x.ndim)
    order = (*axes, *(a for a in range(x.ndim) if a not in axes))  # the reduced axes first, then flattened into one
    moved = x.transpose(order)
    others = _products_of_others(reshape(moved, (_count(x, axis), *moved.shape[len(axes) :])))
    inverse = sorted(range(x.ndim), key=order.__getitem__)
    return reshape(others, moved.shape).transpose(inverse) * with_reduced_axes(g, x.shape, axis)


def _products_of_others(x):
    """For each entry, the product of all others along the first axis: its neighbour's times that of all other pairs."""
    pairs = x.shape[0] // 2
    if not pairs:
        return backend.array_module(getattr(x, "_data", x)).ones(x.shape, x.dtype)
    even, odd, rest = (
        getitem(x, part) for part in (slice(0, 2 * pairs, 2), slice(1, 2 * pairs, 2), slice(2 * pairs, None))
    )
    others = _products_of_others(concatenate([multiply(even, odd), rest]))
    of_pairs = getitem(others, slice(pairs))
    both = reshape(stack([multiply(of_pairs, odd), multiply(of_pairs, even)], 1), (2 * pairs, *x.shape[1:]))
    return concatenate([both, getitem(others, slice(pairs, None))])


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
    """log Σ exp(x) over `axis` (the last by default); of nothing -inf."""
    x = floats(xp, x)
    largest = _largest(xp, x, axis)
    largest = xp.where(xp.isfinite(largest), largest, 0).astype(x.dtype)
    with numpy.errstate(divide="ignore"):
        result = xp.log(xp.exp(x - largest).sum(axis=axis, keepdims=True)) + largest
    return result if keepdims else xp.squeeze(result, normalized_axes(axis, x.ndim))


@primitive(lambda g, y, _x, axis=-1: y * (g - sum(g * y, axis, keepdims=True)))
def softmax(xp, x, axis=-1):
    """exp(x) / Σ exp(x) along `axis` (the last by default)."""
    x = floats(xp, x)
    e = xp.exp(x - _largest(xp, x, axis))
    return e / e.sum(axis=axis, keepdims=True)


@primitive(lambda g, y, _x, axis=-1: g - exp(y) * sum(g, axis, keepdims=True))
def log_softmax(xp, x, axis=-1):
    """x - log Σ exp(x) along `axis` (the last by default)."""
    x = floats(xp, x)
    shifted = x - _largest(xp, x, axis)
    with numpy.errstate(divide="ignore"):  # of nothing
        return shifted - xp.log(xp.exp(shifted).sum(axis=axis, keepdims=True))
