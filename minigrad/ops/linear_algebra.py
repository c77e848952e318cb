"""Matrix products, and sums of products over any indices."""

import functools
import math
import string
from collections import Counter

from minigrad import backend
from minigrad.op import op, primitive
from minigrad.ops.shape import expand_dims, normalized_axes, reshape, squeeze, swapaxes, transpose, unbroadcast

__all__ = ["einsum", "matmul", "tensordot"]

_matmul = op("matmul", "A @ B of stacks of matrices.", lambda xp, a, b: xp.matmul(a, b),
             lambda g, _y, _a, b: unbroadcast(_matmul(g, swapaxes(b, -1, -2)), _a),
             lambda g, _y, a, _b: unbroadcast(_matmul(swapaxes(a, -1, -2), g), _b))  # fmt: skip


def matmul(a, b):
    """a @ b: matrices (…, n, k) and (…, k, m), the leading axes broadcast; a vector counts as one row or one column."""
    if a.ndim > 1 and b.ndim > 1:
        return _matmul(a, b)
    if not a.ndim or not b.ndim:
        raise ValueError(f"matmul needs at least one dimension, got shapes {a.shape} and {b.shape}; use * for numbers")
    product = _matmul(expand_dims(a, 0) if a.ndim == 1 else a, expand_dims(b, 1) if b.ndim == 1 else b)
    product = squeeze(product, -1) if b.ndim == 1 else product
    return squeeze(product, -2 if b.ndim > 1 else -1) if a.ndim == 1 else product


def tensordot(a, b, axes=2):
    """The sum of products over pairs of axes: the last `axes` of `a` with the first of `b`, or two lists of axes."""
    if isinstance(axes, int):
        axes = (tuple(range(a.ndim - axes, a.ndim)), tuple(range(axes)))
    over_a, over_b = (
        normalized_axes(x if isinstance(x, int) else tuple(x), ndim)
        for x, ndim in zip(axes, (a.ndim, b.ndim), strict=True)
    )
    if [a.shape[i] for i in over_a] != [b.shape[i] for i in over_b] or len({*over_a}) < len(over_a):
        raise ValueError(f"tensordot: axes {over_a} of shape {a.shape} do not fit axes {over_b} of shape {b.shape}")
    kept_a, kept_b = ([i for i in range(x.ndim) if i not in over] for x, over in ((a, over_a), (b, over_b)))
    rows, columns = [a.shape[i] for i in kept_a], [b.shape[i] for i in kept_b]
    inner = math.prod(a.shape[i] for i in over_a)
    left = reshape(transpose(a, (*kept_a, *over_a)), (math.prod(rows), inner))
    right = reshape(transpose(b, (*over_b, *kept_b)), (inner, math.prod(columns)))
    return reshape(matmul(left, right), (*rows, *columns))


# ---- Einstein's summation: every product above, and its derivatives, are einsums ------------------------------------


def _einsum_gradient(g, xs, subscripts, position):
    """y is linear in x = xs[position]: the gradient is the same sum of products with g in the place of x.

    An index that only x has was summed out: its entries share one gradient, which a vector of ones repeats. An index
    that x has twice picked its diagonal: an identity matrix puts the gradient back there.
    """
    *terms, output = subscripts.replace("->", ",").split(",")
    mine, shape = terms[position], xs[position].shape
    terms[position], factors = output, [*xs[:position], g, *xs[position + 1 :]]
    shapes = [getattr(x, "shape", ()) for x in factors]  # a number has none
    available = {pair for term, s in zip(terms, shapes, strict=True) for pair in zip(term, s, strict=True)}
    unused = (label for label in string.ascii_letters if label not in subscripts)
    result = ""
    xp, dtype = backend.array_module(getattr(g, "_data", g)), g.dtype
    for label, size in zip(mine, shape, strict=True):
        if size == 1:  # repeated to the size of the others: left out of the result, it is summed over
            continue
        if label in result:
            twin = next(unused)
            terms, factors, label = [*terms, label + twin], [*factors, xp.eye(size, dtype=dtype)], twin
        elif (label, size) not in available:
            terms, factors = [*terms, label], [*factors, xp.ones(size, dtype)]
        result += label
    return reshape(_einsum(*factors, subscripts=f"{','.join(terms)}->{result}"), shape)


@primitive(joint=lambda g, _y, *xs, subscripts: functools.partial(_einsum_gradient, g, xs, subscripts))
def _einsum(xp, *xs, subscripts):
    """The sum of products that `subscripts`, with letters and an arrow only, describes."""
    xs = [x if backend.is_array(x) else xp.asarray(x, dtype=xp.result_type(*xs)) for x in xs]
    return xp.einsum(subscripts, *xs, optimize=len(xs) > 1)  # in pairs, by matrix products where possible


def einsum(subscripts, *operands):
    """The sum of products over indices named by letters: `einsum("ij,jk->ik", a, b)` is the product of matrices.

    Parameters
    ----------
    subscripts : str
        A letter for each axis of each operand; after the arrow, the indices of the result. All others are summed
        over. A letter twice in one operand means its diagonal; `...` stands for further axes, broadcast from the
        right. Without an arrow, the result has the indices that occur once, in alphabetical order, after `...`.
    *operands : array or Tensor
        Where they share an index they have one size along it, or size 1, which is repeated.

    Returns
    -------
    array or Tensor

    Raises
    ------
    ValueError
        If the subscripts cannot be read, or do not fit the operands' shapes.
    """
    shapes = [getattr(x, "shape", ()) for x in operands]
    try:
        explicit = _explicit(subscripts, shapes)
    except ValueError as error:
        raise ValueError(f"einsum({subscripts!r}) of shapes {', '.join(map(str, shapes))}: {error}") from None
    return _einsum(*operands, subscripts=explicit)


def _explicit(subscripts, shapes):
    """The same subscripts with letters in place of `...`, with an output, and checked against the shapes."""
    before, arrow, output = subscripts.replace(" ", "").partition("->")
    terms = before.split(",")
    if len(terms) != len(shapes):
        raise ValueError(f"{len(terms)} terms between commas for {len(shapes)} operands")
    rest = [len(shape) - len(term.replace("...", "")) for term, shape in zip(terms, shapes, strict=True)]
    dots = max((count for term, count in zip(terms, rest, strict=True) if "..." in term), default=0)
    letters = "".join([label for label in string.ascii_letters if label not in subscripts][:dots])
    if not arrow:
        output = "..." + "".join(label for label, n in sorted(Counter(before).items()) if n == 1 and label.isalpha())
    elif dots and "..." not in output:
        raise ValueError("there is ... before the arrow, so there must be ... after it too")
    output = output.replace("...", letters, 1)
    terms = [term.replace("...", letters[dots - count :], 1) for term, count in zip(terms, rest, strict=True)]
    sizes = {}
    for position, (term, shape) in enumerate(zip(terms, shapes, strict=True)):
        if len(term) != len(shape) or not set(term) <= set(string.ascii_letters):
            raise ValueError(f"operand {position} needs one letter for each of its {len(shape)} axes")
        if len(set(zip(term, shape, strict=True))) > len(set(term)):
            raise ValueError(f"operand {position} has one letter for axes of different sizes")
        for label, size in zip(term, shape, strict=True):
            if size != 1 and sizes.setdefault(label, size) != size:
                raise ValueError(f"index {label!r} has size {sizes[label]} and, in operand {position}, {size}")
    unknown = set(output) - set("".join(terms))
    if unknown or len(set(output)) < len(output):
        raise ValueError("after the arrow, each letter must be one from before it, and stand there once")
    return f"{','.join(terms)}->{output}"
