"""Equations 3 and 4: the gradients for v and g, written out, and as a projection.

    ∇_g L = ∇_w L · v / ‖v‖                                   (3)
    ∇_v L = (g/‖v‖) ∇_w L  -  (g ∇_g L / ‖v‖²) v                (3)
          = (g/‖v‖) M_w ∇_w L   with  M_w = I - w wᵀ / ‖w‖²       (4)

The law: ∇_v L is at a right angle to v, and nothing of ∇_w L is lost, ‖∇_w L‖² = (∇_g L)² + (‖v‖/g)² ‖∇_v L‖².

A weight holds one vector for each index along `axis`, usually the output axis; norms and inner products run over all
other axes. A tuple of axes gives more, shorter vectors; None makes the whole weight one vector.
"""

import math

import minigrad as mg
from minigrad import backend


def counting_axes(ndim, axis):
    """The axes that index the weight vectors, non-negative and sorted: `axis` is an int, a tuple of them, or None."""
    axes = () if axis is None else axis if isinstance(axis, tuple) else (axis,)
    for a in axes:
        if not -ndim <= a < ndim:
            raise ValueError(f"axis {a} is out of range for a weight of {ndim} dimensions")
    return tuple(sorted({a % ndim for a in axes}))


def other_axes(ndim, axis):
    """All axes but `axis`: those along which a weight vector extends."""
    counting = counting_axes(ndim, axis)
    return tuple(i for i in range(ndim) if i not in counting)


def as_column(g, v, axis):
    """`g`, one number per weight vector in any shape of that size, shaped so that it lines up with v."""
    counting = counting_axes(v.ndim, axis)
    shape = tuple(n if i in counting else 1 for i, n in enumerate(v.shape))
    if g.size != math.prod(shape):
        raise ValueError(f"g of shape {g.shape} must hold one number for each of the {math.prod(shape)} weight vectors")
    return g.reshape(shape)


def explicit_gradients(grad_w, v, g, axis=0):
    """The gradients of the loss for v and g from the gradient for w = g v/‖v‖ (equation 3).

    Parameters
    ----------
    grad_w, v : array
        ∇_w L and v, of one shape.
    g : array
        One scale per weight vector, of shape (v.shape[axis],) or any other shape with as many entries.
    axis : int, tuple of int, or None
        The axis (or axes) that index the weight vectors.

    Returns
    -------
    grad_v, grad_g : arrays of the shapes of v and g

    Raises
    ------
    ValueError
        If the shapes do not fit together.
    """
    if grad_w.shape != v.shape:
        raise ValueError(f"grad_w {grad_w.shape} and v {v.shape} must have one shape")
    axes, scale = other_axes(v.ndim, axis), as_column(g, v, axis)
    norm = mg.norm(v, axes, keepdims=True)
    direction = v / norm  # at once, for ‖v‖² might overflow
    grad_g = mg.sum(grad_w * direction, axes, keepdims=True)
    grad_v = scale / norm * grad_w - scale * grad_g / norm * direction
    grad_g = grad_g.reshape(g.shape)
    return grad_v, mg.Tensor(grad_g) if isinstance(grad_v, mg.Tensor) and not isinstance(grad_g, mg.Tensor) else grad_g


def explicit_gradients_log_scale(grad_w, v, s, axis=0):
    """The gradients for v and s from the gradient for w = e^s v/‖v‖: equation 3, and ∇_s L = e^s ∇_g L (section 2).

    Arguments, results and errors are those of `explicit_gradients`, with the log-scale s in the place of g.
    """
    g = mg.exp(s)
    grad_v, grad_g = explicit_gradients(grad_w, v, g, axis)
    return grad_v, g * grad_g


def projection_matrix(w):
    """M_w = I - w wᵀ/‖w‖², which takes out of a vector its part along w (equation 4).

    Parameters
    ----------
    w : (k,) array or Tensor
        Not zero; its length does not matter.

    Returns
    -------
    (k, k) array or Tensor, symmetric, with M_w M_w = M_w, M_w w = 0 and rank k - 1
    """
    if w.ndim != 1:
        raise ValueError(f"projection_matrix takes one weight vector of shape (k,), not {w.shape}")
    data = w.data if isinstance(w, mg.Tensor) else w
    identity = backend.array_module(data).eye(len(data), dtype=data.dtype)
    return identity - mg.reshape(w, -1, 1) * mg.reshape(w, 1, -1) / mg.sum(w * w)


def project(w, x):
    """M_w x without forming M_w: x - w (w·x)/‖w‖², in k operations instead of k² (equation 4).

    Parameters
    ----------
    w : (k,) array or Tensor
    x : (k,) or (k, n) array or Tensor
        One vector, or one in each column.
    """
    if w.ndim != 1 or x.ndim not in (1, 2) or x.shape[0] != w.shape[0]:
        raise ValueError(f"project takes w of shape (k,) and x of shape (k,) or (k, n), not {w.shape} and {x.shape}")
    along = mg.matmul(w, x) / mg.sum(w * w)
    return x - (w * along if x.ndim == 1 else mg.reshape(w, -1, 1) * mg.reshape(along, 1, -1))
