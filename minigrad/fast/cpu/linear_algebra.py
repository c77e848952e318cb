"""Products of matrices: their rules call NumPy's product itself, since for small ones each op on the way counts."""

import numpy

from minigrad.fast.replace import faster


def of_a_matrix(special):
    """A rule for plain matrices; stacks of them, which may have been broadcast, and Tensors go the plain way."""

    def wrap(plain):
        def rule(g, y, a, b):
            return special(g, a, b) if isinstance(g, numpy.ndarray) and g.ndim == 2 else plain(g, y, a, b)

        return rule

    return wrap


def swapped(plain):
    def swapaxes(xp, x, axis1, axis2):
        return x.swapaxes(axis1, axis2) if isinstance(x, numpy.ndarray) else plain(xp, x, axis1, axis2)

    return swapaxes


faster("matmul", "cpu", rules=[of_a_matrix(lambda g, _a, b: g @ b.T), of_a_matrix(lambda g, a, _b: a.T @ g)])
faster("swapaxes", "cpu", swapped)
