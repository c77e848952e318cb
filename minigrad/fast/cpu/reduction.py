"""Reductions and their way back: norm without taking the largest entry out first, unless a square would overflow or
vanish; broadcast_to by copying where that is quicker than making a view.
"""

import math

import numpy

from minigrad.fast.replace import faster

SAFE = {"f": (1e-12, 1e18), "d": (1e-140, 1e150)}  # norms whose squares, and those of all entries that count, are fine
SMALL = 2**13  # entries that are copied sooner than NumPy has made a view that repeats fewer


def norm_or_scaled(plain):
    def norm(xp, x, axis=None, keepdims=False):
        if xp is numpy and x.dtype.char in SAFE:
            with numpy.errstate(over="ignore", under="ignore"):
                y = numpy.sqrt((x * x).sum(axis=axis, keepdims=keepdims))
            least, most = SAFE[x.dtype.char]
            if numpy.all((y > least) & (y < most)):
                return y
        return plain(xp, x, axis, keepdims)

    return norm


def copied_if_small(plain):
    def broadcast_to(xp, x, shape):
        if isinstance(shape, tuple) and math.prod(shape) <= SMALL and isinstance(x, (numpy.ndarray, numpy.generic)):
            if x.ndim <= len(shape):
                y = numpy.empty(shape, x.dtype)
                y[...] = x
                return y
        return plain(xp, x, shape)

    return broadcast_to


faster("norm", "cpu", norm_or_scaled)
faster("broadcast_to", "cpu", copied_if_small)
