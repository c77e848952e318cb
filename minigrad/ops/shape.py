"""Rearranging, repeating and adding up.

These functions are linear, so the backward pass through one applies its transpose, and that is always another function
of this file: `sum` and `broadcast_to` are each other's transposes, as are `getitem` and `scatter`, and `concatenate`
and slicing; `pad` goes back by slicing, `reshape` and `transpose` by another of their kind.
"""

import itertools

import numpy

from minigrad import backend, hints
from minigrad.op import op, primitive
from minigrad.tensors import Tensor, tensor

__all__ = [
    "astype", "broadcast_to", "concatenate", "cumsum", "expand_dims", "flip", "getitem", "moveaxis", "pad", "reshape",
    "split", "squeeze", "stack", "sum", "swapaxes", "take", "transpose",
]  # fmt: skip


def unbroadcast(g, like):
    """`g` summed over the axes along which something of the shape of `like` was repeated to get the shape of `g`."""
    shape = getattr(like, "shape", ())
    if g.shape == shape:
        return g
    new = g.ndim - len(shape)
    total = sum(g, axis=tuple([i for i in range(g.ndim) if i < new or (shape[i - new] == 1 and g.shape[i] != 1)]))
    return total if total.shape == shape else reshape(total, shape)


def normalized_axes(axis, ndim):
    """`axis` (None for all, an int, or a tuple) as a tuple of non-negative ints."""
    if axis is None or (not ndim and axis in (0, -1)):  # as in NumPy, a 0-d array may be reduced over "axis" 0
        return tuple(range(ndim))
    axes = axis if isinstance(axis, tuple) else (axis,)
    if outside := [a for a in axes if not -ndim <= a < ndim]:
        raise ValueError(f"axis {outside[0]} is out of range for an array of {ndim} dimensions")
    return tuple([a % ndim for a in axes])


def _one_axis(axis, ndim):
    """`axis`, which must be a single one, as a non-negative int."""
    if axis is None or isinstance(axis, tuple):
        raise TypeError(f"expected one axis, an int, not {axis!r}")
    return normalized_axes((axis,), ndim)[0]


def with_reduced_axes(g, shape, axis):
    """The result `g` of reducing an array of `shape` over `axis`, with the reduced axes put back with size 1."""
    axes = normalized_axes(axis, len(shape))  # a number, if it is None, which needs no axes to be broadcast
    return g if axis is None else reshape(g, tuple([1 if i in axes else n for i, n in enumerate(shape)]))


# ---- adding up and repeating ----------------------------------------------------------------------------------------


@primitive(lambda g, _y, _x, axis=None, keepdims=False: broadcast_to(with_reduced_axes(g, _x.shape, axis), _x.shape))
def sum(xp, x, axis=None, keepdims=False):
    """The sum over `axis` (None: all; an int; a tuple)."""
    return x.sum(axis=axis, keepdims=keepdims)


@primitive(lambda g, _y, _x, shape: unbroadcast(g, _x))
def broadcast_to(xp, x, shape):
    """`x` repeated, without a copy, to the given shape."""
    return xp.broadcast_to(x, shape)


@primitive(lambda g, _y, _x, axis=-1: reshape(flip(cumsum(flip(g, axis), axis), axis), _x.shape))
def cumsum(xp, x, axis=-1):
    """Running sums along one axis, the last by default. (NumPy's default is to flatten the array.)"""
    return xp.cumsum(x.reshape(-1) if x.ndim == 0 else x, axis=axis)


# ---- the same entries in another order ------------------------------------------------------------------------------


@primitive(lambda g, _y, _x, shape: reshape(g, _x.shape))
def _reshape(xp, x, shape):
    """The same entries, in row-major order, in another shape; one size may be -1."""
    return xp.reshape(x, shape)


def reshape(x, *shape):
    """The same entries, in row-major order, in another shape, given as a tuple or one by one; one size may be -1."""
    return _reshape(x, shape[0] if len(shape) == 1 else shape)


@primitive(lambda g, _y, _x, axes: transpose(g, _inverse(axes)))
def _transpose(xp, x, axes):
    """The axes in another order."""
    return xp.transpose(x, axes)


def transpose(x, *axes):
    """The axes in the given order (a tuple, or one by one), or reversed if none is given."""
    axes = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes
    return _transpose(x, normalized_axes(tuple(axes), x.ndim) if axes else tuple(reversed(range(x.ndim))))


def _inverse(axes):
    return tuple(sorted(range(len(axes)), key=axes.__getitem__))


swapaxes = op("swapaxes", "Two axes exchanged.", lambda xp, x, axis1, axis2: xp.swapaxes(x, axis1, axis2),
              lambda g, _y, _x, axis1, axis2: swapaxes(g, axis1, axis2))  # fmt: skip


def moveaxis(x, source, destination):
    """One axis moved to another position, the others kept in order."""
    source, destination = _one_axis(source, x.ndim), _one_axis(destination, x.ndim)
    axes = [a for a in range(x.ndim) if a != source]
    axes.insert(destination, source)
    return transpose(x, axes)


def expand_dims(x, axis):
    """A new axis of size 1 at position `axis` of the result."""
    axis = _one_axis(axis, x.ndim + 1)
    return reshape(x, (*x.shape[:axis], 1, *x.shape[axis:]))


@hints.other_words
def squeeze(x, axis=None):
    """Without the axes of size 1: all of them, or those in `axis`."""
    axes = [i for i, n in enumerate(x.shape) if n == 1] if axis is None else normalized_axes(axis, x.ndim)
    for a in axes:
        if x.shape[a] != 1:
            raise ValueError(f"squeeze: axis {a} of shape {x.shape} has size {x.shape[a]}, not 1")
    return reshape(x, tuple(n for i, n in enumerate(x.shape) if i not in axes))


@primitive(lambda g, _y, _x, axis=None: flip(g, axis))
def flip(xp, x, axis=None):
    """The entries in reversed order along `axis` (None: every axis)."""
    return xp.flip(x, axis)


# ---- picking and placing --------------------------------------------------------------------------------------------


@primitive(lambda g, _y, _x, index: scatter(g, index, _x.shape))
def _getitem(xp, x, index):
    """x[index]."""
    return x[index]


def getitem(x, index):
    """x[index], for integers, slices, `...`, None, boolean masks, and arrays of integers."""
    entries = _getitem(x, backend.index_into(getattr(x, "_data", x), _without_tensors(index)))
    if any(isinstance(part, Tensor) for part in (index if isinstance(index, tuple) else (index,))):
        return entries if isinstance(entries, Tensor) else tensor(entries)
    return entries


@primitive(lambda g, _y, _x, index, shape: getitem(g, index))
def scatter(xp, x, index, shape):
    """Zeros of `shape`, with `x` added at `index`; entries that `index` names twice add up."""
    result = xp.zeros(shape, x.dtype)
    if _is_basic(index):
        result[index] = x
    else:
        backend.scatter_add(xp, result, index, x)
    return result


def _without_tensors(index):
    """The index with the arrays of its Tensors.

    It has its own copy of what the tape would not see in it: an array in a tuple, or a list. What the user does with
    those before backward must not change where the gradients go. (An array alone the tape copies.)
    """
    if isinstance(index, tuple):
        return tuple(i.copy() if backend.is_array(i) else i for i in map(_without_tensors, index))
    if isinstance(index, list):
        return numpy.asarray(index, None if index else int)
    return getattr(index, "_data", index)


def _is_basic(index):
    """Whether no entry can be named twice: only integers, slices, `...` and None."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(i is None or i is Ellipsis or isinstance(i, (int, slice)) for i in parts)


def take(x, indices, axis=None):
    """The entries of `x` at integer `indices` along `axis` (None: of the flattened array)."""
    if axis is None:
        return getitem(reshape(x, -1), indices)
    return getitem(x, (slice(None),) * _one_axis(axis, x.ndim) + (indices,))


@primitive(lambda g, _y, _x, pad_width, value=0: getitem(g, _inside(pad_width, _x.shape)))
def _pad(xp, x, pad_width, value=0):
    """`x` with `value` around it."""
    return xp.pad(x, pad_width, constant_values=value)


def pad(x, pad_width, value=0):
    """`x` with `value` around it; `pad_width` is a number, or one (before, after) pair for each axis."""
    if isinstance(pad_width, int):
        pad_width = ((pad_width, pad_width),) * x.ndim
    return _pad(x, tuple(map(tuple, pad_width)), value) if x.ndim else x


def _inside(pad_width, shape):
    return tuple(slice(before, before + n) for (before, _), n in zip(pad_width, shape, strict=True))


# ---- putting together and taking apart ------------------------------------------------------------------------------


def _parts_of_gradient(g, _y, *_xs, axis):
    """A function from an operand's position to its part of g."""
    cuts = [0, *itertools.accumulate(x.shape[axis] for x in _xs)]
    before = (slice(None),) * (axis % g.ndim)
    return lambda i: getitem(g, (*before, slice(cuts[i], cuts[i + 1])))


@primitive(joint=_parts_of_gradient)
def _concatenate(xp, *xs, axis):
    """Arrays one after the other along an axis."""
    return xp.concatenate(xs, axis=axis)


@hints.other_words
def concatenate(xs, axis=0):
    """The arrays or tensors in the sequence `xs`, one after the other along an axis that exists (None: flattened)."""
    if axis is None:
        xs, axis = [reshape(x, -1) for x in xs], 0
    return _concatenate(*xs, axis=axis)


@hints.other_words
def stack(xs, axis=0):
    """The arrays or tensors in the sequence `xs`, all of one shape, along a new axis."""
    return _concatenate(*(expand_dims(x, axis) for x in xs), axis=axis)


@hints.other_words
def split(x, sections, axis=0):
    """A list of parts of `x` along `axis`: `sections` equal ones, or, for a sequence, cut at those positions."""
    axis = _one_axis(axis, x.ndim)
    size = x.shape[axis]
    if isinstance(sections, (int, numpy.integer)):
        if sections < 1 or size % sections:
            raise ValueError(f"split: axis {axis} of size {size} does not divide into {sections} equal parts")
        cuts = [i * (size // sections) for i in range(sections + 1)]
    else:
        cuts = (0, *sections, size)
    before = (slice(None),) * axis
    return [getitem(x, (*before, slice(a, b))) for a, b in itertools.pairwise(cuts)]


# ---- another dtype, another device ----------------------------------------------------------------------------------

astype = op("astype", "x in another dtype.", lambda xp, x, dtype: x.astype(numpy.dtype(dtype).type),
            lambda g, _y, _x, dtype: astype(g, _x.dtype))  # fmt: skip
to_device = op("to_device", "x, from one device to another.", lambda xp, x, source, device:
               backend.to_device(x, device),
               lambda g, _y, _x, source, device: to_device(g, device, source))  # fmt: skip


def to(x, device):
    """This tensor on a device ("cpu", "cuda"), recorded, so that gradients come back to where it was."""
    if device not in backend.DEVICES:
        raise ValueError(f"unknown device {device!r}; for another dtype use astype(dtype)")
    return x if device == x.device else to_device(x, x.device, device)
