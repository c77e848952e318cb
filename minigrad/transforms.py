"""vjp, jvp, hvp, jacobian, hessian: derivatives as functions of functions."""

import numpy

from minigrad import backend
from minigrad.graph import enable_grad, grad, zeros_like
from minigrad.tensor import Tensor


def vjp(f, *args):
    """The value of `f` and a function from a vector u to uᵀ J, its product with the Jacobian of f at `args`.

    Parameters
    ----------
    f : callable
        A function of Tensors that returns one Tensor.
    *args : array_like or Tensor

    Returns
    -------
    value : Tensor
    pull_back : callable
        Takes an array of the shape of `value`; returns one Tensor per argument (the Tensor itself if there is one).
    """
    leaves = [_leaf(a) for a in args]
    with enable_grad():
        value = f(*leaves)

    def pull_back(u):
        if not value.requires_grad:
            results = [zeros_like(leaf) for leaf in leaves]
        else:
            results = grad(value, leaves, u, retain_graph=True)
        return results[0] if len(results) == 1 else tuple(results)

    return value.detach(), pull_back


def jvp(f, args, tangents):
    """The value of `f` at `args` and J v, the product of its Jacobian with the tangents.

    Forward mode out of reverse mode: uᵀ J is linear in u, and the derivative of a linear function of u is that
    function itself, so differentiating uᵀ J v for u gives J v. No second table of rules is needed.

    Parameters
    ----------
    f : callable
        A function of Tensors that returns one Tensor.
    args, tangents : sequences of array_like, of equal shapes

    Returns
    -------
    value, tangent : Tensor
    """
    leaves, tangents = [_leaf(a) for a in args], [_plain(t) for t in tangents]
    with enable_grad():
        value = f(*leaves)
        if not value.requires_grad:
            return value, zeros_like(value)
        u = _leaf(zeros_like(value))
        pulled = grad(value, leaves, u, create_graph=True)
        along = sum(((p * t).sum() for p, t in zip(pulled, tangents, strict=True)), start=0.0)
    tangent = grad(along, u) if along.requires_grad else zeros_like(value)
    return value.detach(), tangent


def hvp(f, args, vectors):
    """H v for the Hessian H of a scalar function `f` at `args`, without forming H.

    Parameters
    ----------
    f : callable
        A function of Tensors that returns a Tensor of one element.
    args, vectors : array_like, or sequences of them of equal shapes

    Returns
    -------
    Tensor or list of Tensor, like `args`
    """
    single = not isinstance(args, (list, tuple))
    leaves = [_leaf(a) for a in ([args] if single else args)]
    vectors = [_plain(v) for v in ([vectors] if single else vectors)]
    with enable_grad():
        first = grad(f(*leaves), leaves, create_graph=True)
        along = sum(((g * v).sum() for g, v in zip(first, vectors, strict=True)), start=0.0)
    results = grad(along, leaves) if along.requires_grad else [zeros_like(leaf) for leaf in leaves]
    return results[0] if single else results


def jacobian(f, x):
    """The Jacobian of `f` at `x`, of shape (*f(x).shape, *x.shape): one backward pass for each entry of f(x)."""
    value, pull_back = vjp(f, x)
    xp = backend.array_module(value.data)
    rows = []
    for entry in numpy.ndindex(value.shape):
        u = xp.zeros_like(value.data)
        u[entry] = 1
        rows.append(pull_back(u).data)
    shape = _plain(x).shape
    return Tensor(xp.stack(rows).reshape(value.shape + shape) if rows else xp.zeros(value.shape + shape, value.dtype))


def hessian(f, x):
    """The Hessian of a scalar function `f` at `x`, of shape (*x.shape, *x.shape)."""
    return jacobian(lambda leaf: grad(f(leaf), leaf, create_graph=True), x)


def _plain(value):
    value = value.data if isinstance(value, Tensor) else value
    return value if backend.is_array(value) else numpy.asarray(value, dtype=numpy.float64)


def _leaf(value):
    leaf = Tensor(_plain(value))
    leaf.requires_grad = True
    return leaf
