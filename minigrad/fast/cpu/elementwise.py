"""Elementwise and imagewise functions: large arrays in small pieces, on all cores.

A chain of NumPy functions such as `0.5 * (1 + tanh(0.5 * x))` makes an array at each step. If x does not fit into the
cache, each step waits for memory. Piece by piece the steps in between stay in cache, and every core has its own pieces.
The result is the same to the last bit.
"""

import functools
import math

import numpy

from minigrad.fast.cpu import parallel
from minigrad.fast.replace import faster, instead

BLOCK = 2**18  # entries at a time: few enough for the cache, enough to make up for calling Python
LARGE = 2**20  # entries from which on it pays


def in_blocks(function, position=0):
    """Make an elementwise function work on large NumPy arrays in blocks, whatever their order in memory.

    The argument at `position` is an array; others may come anywhere. If it is small, or they differ in shape or in
    their order in memory, or have gaps, the function is called as it is.
    """

    @functools.wraps(function)
    def run(*args, **params):
        if not isinstance(args[position], numpy.ndarray) or args[position].size < LARGE:
            return function(*args, **params)
        arrays = [a for a in args if isinstance(a, numpy.ndarray) and a.ndim]
        order = memory_order(arrays[0])
        if any(isinstance(value, numpy.ndarray) for value in params.values()):
            return function(*args, **params)
        if order is None or any(a.shape != arrays[0].shape or memory_order(a) != order for a in arrays[1:]):
            return function(*args, **params)
        flat = [_flat(a, order) if isinstance(a, numpy.ndarray) and a.ndim else a for a in args]
        is_array = [isinstance(a, numpy.ndarray) and a.ndim == 1 for a in flat]

        def evaluate(start):
            piece = slice(start, start + BLOCK)
            return function(*(a[piece] if cut else a for a, cut in zip(flat, is_array, strict=True)), **params)

        first = evaluate(0)
        result = numpy.empty_like(arrays[0], dtype=first.dtype)
        out = _flat(result, order)
        out[:BLOCK] = first

        def fill(starts):
            for start in starts:
                out[start : start + BLOCK] = evaluate(start)

        _share_out(fill, range(BLOCK, out.size, BLOCK))
        return result

    return run


def imagewise(function):
    """Make a function of each image by itself, in arrays (N, …), work on a few of them at a time."""

    @functools.wraps(function)
    def run(xp, *args, **params):
        arrays = [a for a in args if isinstance(a, numpy.ndarray) and a.ndim]
        if xp is not numpy or not arrays or arrays[0].size < LARGE or len(arrays[0]) == 1:
            return function(xp, *args, **params)
        count = len(arrays[0])
        few = max(1, BLOCK * count // arrays[0].size)

        def evaluate(start):
            return function(
                xp, *(a[start : start + few] if isinstance(a, numpy.ndarray) else a for a in args), **params
            )

        first = evaluate(0)
        order = memory_order(first) or tuple(range(first.ndim))
        shape = (count, *first.shape[1:])
        result = numpy.empty([shape[axis] for axis in order], first.dtype).transpose(numpy.argsort(order))
        result[:few] = first

        def fill(starts):
            for start in starts:
                result[start : start + few] = evaluate(start)

        _share_out(fill, range(few, count, few))
        return result

    return run


def memory_order(array):
    """The axes from the outermost to the innermost in memory, or None if the array has gaps or repetitions."""
    order = tuple(sorted(range(array.ndim), key=lambda axis: -array.strides[axis]))
    return order if array.transpose(order).flags.c_contiguous else None


def _flat(array, order):
    return array.transpose(order).reshape(-1)


def _share_out(function, starts):
    """Call `function` on a few runs of neighbouring starts for each core."""
    each = max(1, math.ceil(len(starts) / (4 * parallel.cores())))
    parallel.for_each(function, [starts[i : i + each] for i in range(0, len(starts), each)])


# ---- in the place of the plain forms --------------------------------------------------------------------------------
#
# Where NumPy's functions differ in speed: in float32 its `where` takes ten times as long as a product, exp twice as
# long as tanh, exp2 and cosh two thirds of exp, and a reciprocal longer than a quotient.


def _relu_rule(g, y, _x):
    """The bits of g as a whole number, times 0 where y is 0: that makes 0 of an infinity, too."""
    return (g.view(f"i{g.itemsize}") * (y > 0)).view(g.dtype)


def _sigmoid(_xp, x):
    """1 / (1 + 2^(-x log₂e)), with all digits where it is small; 0 in the place of a subnormal number."""
    y = numpy.multiply(x, -math.log2(math.e), out=numpy.empty_like(x))
    with numpy.errstate(over="ignore"):
        numpy.exp2(y, out=y)
    y += 1
    return numpy.divide(1, y, out=y)


def _sigmoid_rule(g, _y, x):
    """g / (2 + 2 cosh x), for that is σ(x) σ(-x) and cancels nowhere."""
    with numpy.errstate(over="ignore"):
        slope = numpy.cosh(x, out=numpy.empty_like(x))
        slope *= 2
    slope += 2
    return numpy.divide(g, slope, out=slope)


def _leaky_relu(xp, x, slope=0.01):
    return xp.maximum(x, slope * x) if 0 < slope <= 1 else xp.where(x > 0, x, slope * x)


def _leaky_relu_rule(g, y, _x, slope=0.01):
    if slope > 1:  # then 1 - slope, and slope again, would round
        return numpy.where(y > 0, g, slope * g)
    return g * ((y > 0).astype(g.dtype) * (1 - slope) + slope)


def _elu(xp, x, alpha=1.0):
    """exp(x) - 1 = 2t / (1 - t) with t = tanh(x/2), exact for small x too."""
    t = xp.tanh(0.5 * xp.minimum(x, 0))
    return t / (1 - t) * (2 * alpha) + xp.maximum(x, 0)


def _elu_rule(g, _y, x, alpha=1.0):
    falling = numpy.exp(numpy.minimum(x, 0))  # 1 where x > 0
    return g * (falling if alpha == 1 else falling * ((x > 0).astype(x.dtype) * (1 - alpha) + alpha))


def _is_float(array):
    return isinstance(array, numpy.ndarray) and array.dtype.char in "efd"


def _of_x(special):
    return instead(special, lambda xp, x, *others, **params: _is_float(x))


def _of_g(special):
    return instead(special, lambda g, *others, **params: _is_float(g))


faster("relu", "cpu", rules=[_of_g(_relu_rule)])
faster("sigmoid", "cpu", _of_x(_sigmoid), [_of_g(_sigmoid_rule)])
faster("leaky_relu", "cpu", _of_x(_leaky_relu), [_of_g(_leaky_relu_rule)])
faster("elu", "cpu", _of_x(_elu), [_of_g(_elu_rule)])

for name in "negative exp log sqrt square sin cos tanh sigmoid softplus erf abs sign relu leaky_relu elu clip".split():
    faster(name, "cpu", functools.partial(in_blocks, position=1), [in_blocks])  # before x comes the library, or g does

for name in "max_pool2d max_unpool2d max_gather2d avg_pool2d avg_unpool2d".split():
    faster(name, "cpu", imagewise)
