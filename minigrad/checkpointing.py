"""checkpoint: less memory for more time. What a function computed in between is forgotten, and computed again in the
backward pass (Griewank & Walther 2000; Chen et al. 2016).

A chain of n equal steps keeps n records; in √n checkpointed pieces, it keeps √n inputs and, at any time of the backward
pass, one piece's √n records, for one more forward pass.

The gradients of a checkpointed function are a function too, of its arguments and of the gradient that comes in. Under
`create_graph=True` the tape records that function as one more checkpointed call. Hence derivatives of every order, none
of which keeps what was computed in between.
"""

import contextlib
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy

from minigrad import backend, guard
from minigrad.graph import enable_grad, grad, state
from minigrad.op import Op, Spec
from minigrad.ops.shape import concatenate, reshape, split
from minigrad.tensors import Node, Tensor


def checkpoint(f, *args):
    """f(*args), of which the tape keeps the arguments and the result only: backward calls `f` a second time.

    Derivatives of every order are those of f(*args), for tensors among the arguments and for leaves, such as
    parameters, that `f` uses without being given them. Each order calls `f` once more.

    Parameters
    ----------
    f : callable
        Returns one Tensor, and the same one whenever it is called with the same arguments: noise is to be drawn
        outside and given as an argument. What it changes, it changes twice: the running statistics of a BatchNorm, say.
    *args
        Tensors, arrays, anything. A Tensor reaches `f` as a leaf of its own, with the same numbers.

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError
        If `f` returns several tensors: stack or concatenate them. In backward under `create_graph=True`, if its
        arguments and the leaves that it uses are on two devices.
    RuntimeError
        Here, if `f` uses a tensor that was computed outside of it: give it as an argument. In backward, if `f` gives
        another result than the first time (random numbers, a parameter changed in between).
    """
    return _recorded(f, args) if state.recording else f(*args)


def _recorded(f, args, keeps_value=True):
    """f(*args), recorded as one op; with `keeps_value` the result is kept, to compare the next call's with it."""
    start = Node(numpy.empty(0)).age  # whatever is made from now on is younger
    arrays = [_array(arg) for arg in args]
    wanted = [arg.requires_grad if isinstance(arg, Tensor) else None for arg in args]
    y = f(*_inside(arrays, wanted))
    if isinstance(y, (tuple, list)):
        raise TypeError(
            f"checkpoint: the function must return one Tensor, not a {type(y).__name__} of {len(y)}; stack or "
            "concatenate them, and take them apart outside"
        )
    if not isinstance(y, Tensor) or y._node is None:
        return y
    leaves = _leaves_from_outside(y._node, start)
    parents = [arg._node if isinstance(arg, Tensor) else None for arg in args] + leaves
    kept = arrays + [Spec(leaf.shape, leaf.dtype) for leaf in leaves]
    record = Op("checkpoint", f, joint=_Recompute(f, wanted, leaves))
    return Tensor(y._data, Node(y._data, record, parents, kept, {}, keeps_value))


def _array(arg):
    """The array of a Tensor, a copy of an array, for it may be changed before backward; anything else itself."""
    return arg._data if isinstance(arg, Tensor) else guard.own(arg) if backend.is_array(arg) else arg


def _inside(arrays, wanted):
    """The arguments as `f` gets them: where a Tensor was given, one without a history: the backward pass ends there.

    `wanted` says, for each, whether it requires a gradient; None stands for what is not a Tensor.
    """
    fresh = [array if w is None else Tensor(array) for array, w in zip(arrays, wanted, strict=True)]
    for tensor, w in zip(fresh, wanted, strict=True):
        if w:
            tensor.requires_grad = True
    return fresh


def _leaves_from_outside(node, start):
    """The leaves older than `start` that `node` was made from; RuntimeError if there are older computed tensors too."""
    leaves, seen, waiting = [], {node}, [node]
    while waiting:
        node = waiting.pop()
        if node.age < start:
            if node.op is not None:
                raise RuntimeError(
                    f"checkpoint: the function uses a tensor of shape {node.shape}, the result of {node.op.name}, that "
                    "was computed outside; give it as an argument"
                )
            leaves.append(node)
        for parent in node.parents:
            if parent is not None and parent not in seen:
                seen.add(parent)
                waiting.append(parent)
    return leaves


class _Recompute(NamedTuple):
    """The backward rule of one call: compute it again, with a record, and go back through that."""

    f: Callable
    wanted: list
    leaves: list

    def __call__(self, g, y, *xs):
        """{position: gradient} for the arguments that want one and, after them, the leaves from outside."""
        xs, value = xs[: len(self.wanted)], getattr(y, "_data", y)
        if not isinstance(g, Tensor):
            found = self._gradients(g, value, _inside(xs, self.wanted))
            return {i: gradient._data for i, gradient in found.items()}

        def gradients(g, *xs):  # what was no Tensor at first is none again
            xs = [x._data if w is None and isinstance(x, Tensor) else x for x, w in zip(xs, self.wanted, strict=True)]
            return concatenate(list(self._gradients(g, value, xs, create_graph=True).values()), axis=None)

        # Each call of `gradients` compares what f gives with y, so its own result need not be kept for comparison.
        packed = _recorded(gradients, (g, *xs), keeps_value=False)
        shapes = {i: x.shape for i, (x, w) in enumerate(zip(xs, self.wanted, strict=True)) if w}
        shapes |= {i: leaf.shape for i, leaf in enumerate(self.leaves, start=len(xs))}
        cuts = list(itertools.accumulate(map(math.prod, shapes.values())))
        parts = split(packed, cuts[:-1])
        return {i: reshape(part, shape) for (i, shape), part in zip(shapes.items(), parts, strict=True)}

    def _gradients(self, g, value, inside, create_graph=False):
        """The same as Tensors, from the arguments as `f` gets them; `value` is what `f` gave before, or a Node."""
        with enable_grad():
            again = self.f(*inside)
        known = backend.is_array(value)
        if not isinstance(again, Tensor) or again._node is None or (known and not _agree(again._data, value)):
            raise RuntimeError(
                "checkpoint: called again with the same arguments, the function gave another result; does it draw "
                "random numbers, or was a parameter changed before backward?"
            )
        xp = backend.array_module(again._data)
        sources = {i: inside[i] for i, w in enumerate(self.wanted) if w}
        for i, leaf in enumerate(self.leaves, start=len(inside)):
            sources[i] = Tensor(xp.broadcast_to(xp.zeros((), leaf.dtype), leaf.shape), leaf)  # only its node matters
        with _without_hooks(self.leaves):  # they are due once, for the gradient from everywhere
            found = grad(again, list(sources.values()), g, create_graph=create_graph)
        return dict(zip(sources, found, strict=True))


def _agree(a, b):
    """Whether two results of the same computation are equal up to rounding."""
    if (a.shape, a.dtype) != (b.shape, b.dtype):
        return False
    xp, tolerance = backend.array_module(a), 100 * float(numpy.finfo(a.dtype).eps)
    finite = b[xp.isfinite(b)]
    size = float(abs(finite).sum(dtype=xp.float64)) / max(finite.size, 1)
    return bool(xp.allclose(a, b, rtol=tolerance, atol=tolerance * size, equal_nan=True))


@contextlib.contextmanager
def _without_hooks(nodes):
    hooks = [node.hooks for node in nodes]
    for node in nodes:
        node.hooks = ()
    try:
        yield
    finally:
        for node, own in zip(nodes, hooks, strict=True):
            node.hooks = own
