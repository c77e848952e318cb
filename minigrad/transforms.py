"""vjp, jvp, hvp, jacobian, hessian: derivatives as functions of functions.

Each is a few lines on top of `mg.grad`: reverse mode gives uᵀ J, and reverse mode twice gives J v and H v.

Numbers and lists of numbers are taken as float64. The results are not recorded, so inside another of these functions
they would count as constants; such a call is refused. To differentiate further, use `mg.grad` with `create_graph=True`
inside, as `hessian` does.
"""

import numpy

from minigrad import backend, guard
from minigrad.graph import _switched, enable_grad, grad, state, zeros_like
from minigrad.tensors import Tensor


def vjp(f, *args):
    """The value of `f` at `args`, and the function u ↦ uᵀ J, where J is the Jacobian of `f` there.

    Parameters
    ----------
    f : callable
        A function of Tensors that returns one Tensor.
    *args : array_like or Tensor

    Returns
    -------
    value : Tensor
    pull_back : callable
        Takes u, array_like of the shape of `value`; returns a tuple with one Tensor per argument, of that argument's
        shape and dtype, or the Tensor itself if there is a single argument. It may be called any number of times.
    """
    leaves = [_leaf(a) for a in args]
    value = _value(f, leaves)

    def pull_back(u):
        results = grad(value, leaves, [u], retain_graph=True)
        return results[0] if len(results) == 1 else tuple(results)

    return value.detach(), pull_back


def jvp(f, args, tangents):
    """The value of `f` at `args` and J v, the product of its Jacobian with the tangents.

    Forward mode by reverse mode twice: uᵀ J v is linear in u, and its gradient with respect to u is J v. So no second
    table of rules is needed.

    Parameters
    ----------
    f : callable
        A function of Tensors that returns one Tensor.
    args, tangents : array, Tensor or number, or list or tuple with one array_like per argument
        Of equal shapes. A single argument that is a list of numbers must be wrapped in a list: [[1.0, 2.0]].

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
    args, vectors : array, Tensor or number, or list or tuple with one array_like per argument
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
    x, xp = _as_array(x), backend.array_module(value.data)
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


def _as_array(value):
    value = getattr(value, "_data", value)
    return value if backend.is_array(value) else numpy.asarray(value, dtype=numpy.float64)


def _leaf(value):
    leaf = Tensor(guard.own(_as_array(value)))
    leaf.requires_grad = True
    return leaf


def _value(f, leaves):
    """f(*leaves), recorded even inside `no_grad`."""
    if state.transforming and state.recording:
        raise RuntimeError(
            "vjp, jvp, hvp, jacobian and hessian give results without a record, which a function to be differentiated "
            "must not use: there, use mg.grad(..., create_graph=True)"
        )
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
    leaves, vectors = [_leaf(a) for a in args], [_as_array(v) for v in vectors]
    for leaf, vector in zip(leaves, vectors, strict=False):
        backend.array_module(leaf._data, vector)  # raises if they are on two devices
    shapes = [leaf.shape for leaf in leaves], [vector.shape for vector in vectors]
    if shapes[0] != shapes[1]:
        raise ValueError(f"arguments of shapes {shapes[0]} need vectors of the same shapes, not {shapes[1]}")
    return leaves, vectors


def _derivative_along(vectors, value, leaves, u=None):
    """uᵀ J v as a Tensor that can be differentiated again; u is 1 by default, for a value of one element."""
    gradients = grad(value, leaves, u, create_graph=True)
    with enable_grad():
        return sum(((g * v).sum() for g, v in zip(gradients, vectors, strict=True)), start=0.0)
