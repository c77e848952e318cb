"""vjp, jvp, hvp, jacobian, hessian: derivatives as functions of functions.

Where an argument is not a Tensor or an array but numbers or lists of them, these count as float64. The results have no
record, so one of these functions within another would count as a constant, and is refused: to differentiate further,
use `mg.grad` with `create_graph=True` inside, as `hessian` does.
"""

import numpy

from minigrad import backend
from minigrad.graph import _switched, enable_grad, grad, state, zeros_like
from minigrad.tensors import Tensor


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
        Takes u, array_like of the shape of `value`; returns one Tensor per argument (the Tensor itself if there is
        one), of that argument's shape and dtype. It may be called any number of times.
    """
    leaves = [_leaf(a) for a in args]
    value = _value(f, leaves)

    def pull_back(u):
        results = grad(value, leaves, [u], retain_graph=True)
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
    args, tangents : array, Tensor or number, or lists or tuples of array_like with an entry for each argument
        Of equal shapes. A single vector of numbers has to be an array, or to stand in a list of its own.

    Returns
    -------
    value, tangent : Tensor
        Of one shape and dtype.

    Raises
    ------
    ValueError
        If a tangent does not have its argument's shape.
    """
    leaves, tangents = _pairs(args, tangents)
    value = _value(f, leaves)
    if not value.requires_grad:
        return value, zeros_like(value)
    u = _leaf(zeros_like(value))
    return value.detach(), grad(_derivative_along(tangents, value, leaves, u), u)


def hvp(f, args, vectors):
    """H v for the Hessian H of a scalar function `f` at `args`, without forming H: the gradient of ∇fᵀ v.

    Parameters
    ----------
    f : callable
        A function of Tensors that returns a Tensor of one element.
    args, vectors : array, Tensor or number, or lists or tuples of array_like with an entry for each argument
        Of equal shapes, as for `jvp`.

    Returns
    -------
    Tensor or list of Tensor, like `args`

    Raises
    ------
    ValueError
        If a vector does not have its argument's shape.
    """
    leaves, vectors = _pairs(args, vectors)
    results = grad(_derivative_along(vectors, _value(f, leaves), leaves), leaves)
    return results if isinstance(args, (list, tuple)) else results[0]


def jacobian(f, x):
    """The Jacobian of `f` at `x`, of shape (*f(x).shape, *x.shape): one backward pass for each entry of f(x)."""
    value, pull_back = vjp(f, x)
    x, xp = _plain(x), backend.array_module(value.data)
    rows = xp.zeros(value.shape + x.shape, x.dtype)
    for entry in numpy.ndindex(value.shape):
        u = xp.zeros(value.shape, value.dtype)
        u[entry] = 1
        rows[entry] = pull_back(u).data
    return Tensor(rows)


def hessian(f, x):
    """The Hessian of a scalar function `f` at `x`, of shape (*x.shape, *x.shape)."""
    return jacobian(lambda leaf: grad(_one_tensor(f(leaf)), leaf, create_graph=True), x)


# ---- what they share ------------------------------------------------------------------------------------------------


def _plain(value):
    value = getattr(value, "_data", value)
    return value if backend.is_array(value) else numpy.asarray(value, dtype=numpy.float64)


def _leaf(value):
    leaf = Tensor(_plain(value))
    leaf.requires_grad = True
    return leaf


def _value(f, leaves):
    """f(*leaves), recorded even inside `no_grad`."""
    if state.transforming and state.recording:
        raise RuntimeError("vjp, jvp, hvp, jacobian and hessian give results without a record, which a function to be "
                           "differentiated must not use: there, use mg.grad(..., create_graph=True)")  # fmt: skip
    with enable_grad(), _switched("transforming", True):
        return _one_tensor(f(*leaves))


def _one_tensor(value):
    if not isinstance(value, Tensor):
        raise TypeError(f"the function to differentiate must return one Tensor, not {type(value).__name__}")
    return value


def _pairs(args, vectors):
    """Leaves for `args` and plain arrays for `vectors`, one for each and of its shape."""
    if not isinstance(args, (list, tuple)):
        args, vectors = [args], [vectors]
    leaves, vectors = [_leaf(a) for a in args], [_plain(v) for v in vectors]
    for leaf, vector in zip(leaves, vectors, strict=False):
        backend.array_module(leaf._data, vector)  # on two devices?
    shapes = [leaf.shape for leaf in leaves], [vector.shape for vector in vectors]
    if shapes[0] != shapes[1]:
        raise ValueError(f"arguments of shapes {shapes[0]} need vectors of the same shapes, not {shapes[1]}")
    return leaves, vectors


def _derivative_along(vectors, value, leaves, u=None):
    """uᵀ J v as a Tensor that can be differentiated again; u is 1 by default, for a value of one element."""
    gradients = grad(value, leaves, u, create_graph=True)
    with enable_grad():
        return sum(((g * v).sum() for g, v in zip(gradients, vectors, strict=True)), start=0.0)
