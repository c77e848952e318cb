"""clip_grad_norm: no step longer than it should be, whatever one batch holds."""

import math
from collections.abc import Iterable

import numpy

from minigrad import backend
from minigrad.tensors import Tensor


def clip_grad_norm(params: Tensor | Iterable[Tensor], max_norm: float) -> float:
    """Shorten all gradients by one factor where, taken as one long vector, they are longer than `max_norm`.

    The direction stays (Pascanu et al. 2013). A gradient is replaced by a new tensor, without a record; where nothing
    is to be clipped, every gradient stays the object that it was. Parameters without a gradient are passed over.

    Parameters
    ----------
    params : Parameter or iterable of Parameter
    max_norm : float

    Returns
    -------
    float
        The norm before clipping, computed in float64; 0 if there are no gradients.

    Raises
    ------
    FloatingPointError
        If the norm is NaN or infinite, which no factor mends; names the parameters' positions. No gradient has been
        changed then: skip the step, or look for the cause with `mg.detect_anomaly()`.
    """
    if not max_norm >= 0:
        raise ValueError(f"max_norm must not be negative or NaN, got {max_norm}")
    params = [params] if isinstance(params, Tensor) else list(params)
    norms = [0.0 if p.grad is None else _norm(p.grad.data) for p in params]
    norm = math.hypot(*norms)
    if not math.isfinite(norm):
        bad = [position for position, n in enumerate(norms) if not math.isfinite(n)]
        raise FloatingPointError(
            f"clip_grad_norm: the norm of the gradients is {norm}, because of the parameters at positions {bad}; "
            "skip this step, or find the op with mg.detect_anomaly()"
        )
    if norm > max_norm:
        factor = float(max_norm / norm)
        for parameter in params:
            if parameter.grad is not None:
                parameter.grad = parameter.grad.detach() * factor
    return norm


def _norm(array):
    return float(backend.array_module(array).linalg.norm(array.astype(numpy.float64).reshape(-1)))
