"""checkpoint: less memory for more time. What a function computed in between is forgotten, and computed again in the
backward pass (Griewank & Walther 2000; Chen et al. 2016).

A chain of n equal steps keeps n records; in √n checkpointed pieces, it keeps √n inputs and, at any time of the backward
pass, one piece's √n records, for one more forward pass.
"""

import contextlib
from collections.abc import Callable
from typing import NamedTuple

import numpy

from minigrad import backend, guard
from minigrad.graph import enable_grad, grad, state
from minigrad.op import Op, Spec
from minigrad.tensors import Node, Tensor


def checkpoint(f, *args):
    """f(*args), of which the tape keeps the arguments and the result only: backward calls `f` a second time.

    Gradients of first order are those of f(*args), for tensors among the arguments and for leaves, such as
    parameters, that `f` uses without being given them.

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
        If `f` returns several tensors: stack or concatenate them.
    RuntimeError
        Here, if `f` uses a tensor that was computed outside of it: give it as an argument. In backward, if `f` gives
        another result the second time (random numbers, a parameter changed in between), and under `create_graph=True`,
        since the second call is not recorded: derivatives of higher order need f(*args) itself.
    """
    if not state.recording:
        return f(*args)
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
    return Tensor(y._data, Node(y._data, record, parents, kept, {}, keeps_value=True))


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
        if isinstance(g, Tensor):
            raise RuntimeError(
                "checkpoint: create_graph=True cannot go through a checkpointed call, which is computed again without "
                "a record; call the function itself"
            )
        count, xp = len(self.wanted), backend.array_module(g)
        inside = _inside(xs[:count], self.wanted)
        with enable_grad():
            again = self.f(*inside)
        if not isinstance(again, Tensor) or again._node is None or not _agree(again._data, y):
            raise RuntimeError(
                "checkpoint: called again with the same arguments, the function gave another result; does it draw "
                "random numbers, or was a parameter changed before backward?"
            )
        sources = {i: inside[i] for i in range(count) if self.wanted[i]}
        for i, leaf in enumerate(self.leaves, start=count):
            sources[i] = Tensor(xp.broadcast_to(xp.zeros((), leaf.dtype), leaf.shape), leaf)  # only its node matters
        with _without_hooks(self.leaves):  # they are due once, for the gradient from everywhere
            gradients = grad(again, list(sources.values()), g)
        return {i: gradient._data for i, gradient in zip(sources, gradients, strict=True)}


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
