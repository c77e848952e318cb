"""Matrix products."""

import math

from minigrad.op import op
from minigrad.ops.shape import expand_dims, normalized_axes, reshape, squeeze, swapaxes, transpose, unbroadcast

__all__ = [
    "matmul", "tensordot",
]  # fmt: skip

_matmul = op("matmul", "A @ B of stacks of matrices.", lambda xp, a, b: xp.matmul(a, b),
             lambda g, _y, _a, b: unbroadcast(g @ swapaxes(b, -1, -2), _a),
             lambda g, _y, a, _b: unbroadcast(swapaxes(a, -1, -2) @ g, _b))  # fmt: skip


def matmul(a, b):
    """a @ b: matrices (…, n, k) and (…, k, m), the leading axes broadcast; a vector counts as one row or one column."""
    if not a.ndim or not b.ndim:
        raise ValueError(f"matmul needs at least one dimension, got shapes {a.shape} and {b.shape}; use * for numbers")
    product = _matmul(expand_dims(a, 0) if a.ndim == 1 else a, expand_dims(b, 1) if b.ndim == 1 else b)
    product = squeeze(product, -1) if b.ndim == 1 else product
    return squeeze(product, -2 if b.ndim > 1 else -1) if a.ndim == 1 else product


def tensordot(a, b, axes=2):
    """The sum of products over pairs of axes: the last `axes` of `a` with the first of `b`, or two lists of axes."""
    if isinstance(axes, int):
        axes = (tuple(range(a.ndim - axes, a.ndim)), tuple(range(axes)))
    over_a, over_b = (normalized_axes(tuple(x) if not isinstance(x, int) else x, y.ndim)
                      for x, y in zip(axes, (a, b), strict=True))  # fmt: skip
    if [a.shape[i] for i in over_a] != [b.shape[i] for i in over_b]:
        raise ValueError(f"tensordot: axes {over_a} of shape {a.shape} do not fit axes {over_b} of shape {b.shape}")
    kept_a = tuple(i for i in range(a.ndim) if i not in over_a)
    kept_b = tuple(i for i in range(b.ndim) if i not in over_b)
    rows, columns = tuple(a.shape[i] for i in kept_a), tuple(b.shape[i] for i in kept_b)
    inner = math.prod(a.shape[i] for i in over_a)
    left = reshape(transpose(a, kept_a + over_a), (math.prod(rows), inner))
    right = reshape(transpose(b, over_b + kept_b), (inner, math.prod(columns)))
    return reshape(matmul(left, right), rows + columns)
