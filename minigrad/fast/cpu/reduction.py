"""norm: without taking the largest entry out first, unless a square would overflow or vanish."""

import numpy

from minigrad.fast.replace import faster

SAFE = {"f": (1e-12, 1e18), "d": (1e-140, 1e150)}  # norms whose squares, and those of all entries that count, are fine


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


faster("norm", "cpu", norm_or_scaled)
