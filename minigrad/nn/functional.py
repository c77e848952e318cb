"""The layers' functions without the layers: they work on arrays and on Tensors and keep no state."""

import math

import numpy

from minigrad import backend
from minigrad.op import op, primitive
from minigrad.ops.convolution import avg_pool2d, conv2d, conv_transpose2d, max_pool2d
from minigrad.ops.elementwise import abs, maximum, minimum, softplus, square
from minigrad.ops.linear_algebra import matmul
from minigrad.ops.reduction import floats, mean, softmax
from minigrad.ops.shape import astype, reshape, sum, swapaxes
from minigrad.tensors import Tensor, tensor

__all__ = [
    "avg_pool2d", "binary_cross_entropy_with_logits", "conv2d", "conv_transpose2d", "cross_entropy", "dropout",
    "huber_loss", "linear", "max_pool2d", "mse_loss", "normalize", "one_hot",
]  # fmt: skip


def linear(x, weight, bias=None):
    """x Wᵀ + b, for x (…, in), weight (out, in) and bias (out,); the result is (…, out)."""
    return matmul(x, swapaxes(weight, 0, 1)) if bias is None else _linear(x, weight, bias)


@primitive(
    lambda g, _y, _x, weight, _bias: matmul(g, weight),
    lambda g, _y, x, _weight, _bias: matmul(swapaxes(_rows(g), 0, 1), _rows(x)),
    lambda g, _y, _x, _weight, _bias: sum(_rows(g), 0),
)
def _linear(xp, x, weight, bias):
    """x Wᵀ + b."""
    return xp.matmul(x, weight.T) + bias


def _rows(x):
    """(…, n) as a matrix with rows of n."""
    return x if x.ndim == 2 else reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))


def _normalize_rule(g, y, x, axes, eps):
    inverse = 1 / _deviation(x, axes, eps)
    return inverse * (g - mean(g, axes, keepdims=True) - y * mean(g * y, axes, keepdims=True))


def _deviation(x, axes, eps):
    return (mean(square(x - mean(x, axes, keepdims=True)), axes, keepdims=True) + eps) ** 0.5


@primitive(_normalize_rule)
def normalize(xp, x, axes, eps):
    """(x - mean) / √(variance + eps) with the mean and the (biased) variance over `axes`."""
    centered = x - mean(x, axes, keepdims=True)
    centered /= xp.sqrt(mean(centered * centered, axes, keepdims=True) + eps)
    return centered


def batch_norm(x, weight, bias, eps):
    """Batch normalization of (N, C) or (N, C, H, W) with the batch's statistics (Ioffe & Szegedy 2015, algorithm 1).

    Parameters
    ----------
    x : array or Tensor
    weight, bias : (C,) array or Tensor
        γ and β.
    eps : float

    Returns
    -------
    y : like x
        γ (x - μ) / √(σ² + eps) + β
    mean, var : (C,) arrays
        μ and the biased σ² of each channel; no gradient flows back through these two.
    """
    mean, var = batch_moments(array_of(x))
    return _batch_norm(x, weight, bias, mean, var, eps), mean, var


def _but_channels(x):
    """The axes of x (N, C, …) to reduce for per-channel values; the shape that broadcasts those against x."""
    return (0, *range(2, x.ndim)), (-1, *[1] * (x.ndim - 2))


@primitive(None)
def batch_moments(xp, x):
    """The mean and the biased variance of each channel of x (N, C, …), as an array (2, C)."""
    if x.ndim < 2:
        raise ValueError("expected x of shape (N, C) or (N, C, H, W)")
    axes, column = _but_channels(x)
    x = x.astype(xp.promote_types(x.dtype, numpy.float32), copy=False)  # in float16 the squares would overflow
    center = mean(x, axes)
    deviation = x - center.reshape(column)
    return xp.stack([center, mean(deviation * deviation, axes)])


inverse_deviation = op("inverse_deviation", "1/√(var + eps).", lambda xp, var, eps=1e-5: (var + eps) ** -0.5,
                       lambda g, y, _var, eps=1e-5: g * -0.5 * y * y * y)  # fmt: skip


def _batch_norm_rule(g, _y, x, weight, _bias, mean, var, eps):
    axes, column = _but_channels(x)
    if isinstance(g, Tensor):  # then mean and variance are recorded, as functions of x
        mean = x.mean(axes)
        var = square(x - mean.reshape(column)).mean(axes)
    inverse = inverse_deviation(var, eps)
    normal = (x - mean.reshape(column)) * inverse.reshape(column)
    grad_weight, grad_bias = sum(g * normal, axes), sum(g, axes)
    n = math.prod(x.shape[axis] for axis in axes)
    grad_x = g - (grad_bias / n).reshape(column) - normal * (grad_weight / n).reshape(column)
    return grad_x * (weight * inverse).reshape(column), grad_weight, grad_bias


@primitive(joint=_batch_norm_rule, operands=3)
def _batch_norm(xp, x, weight, bias, mean, var, eps):
    """weight · (x - mean) / √(var + eps) + bias, with mean and var those of x."""
    check_channels(mean, weight, bias)
    _, column = _but_channels(x)
    scale = inverse_deviation(var, eps) * weight
    y = (x - mean.reshape(column)) * scale.reshape(column) + bias.reshape(column)
    return y.astype(xp.result_type(floats(xp, x), weight, bias), copy=False)  # in float16 the moments are in float32


def check_channels(mean, weight, bias):
    """ValueError unless `weight` and `bias` hold a number for each channel, as `mean` does."""
    if weight.shape != mean.shape or bias.shape != mean.shape:
        raise ValueError(f"weight and bias must hold one number for each of the {len(mean)} channels")


def dropout(x, p, rng):
    """Each entry is 0 with probability `p`, else divided by 1 - p; decided by the NumPy generator `rng`."""
    if not 0 <= p < 1:
        raise ValueError(f"dropout: p must be at least 0 and less than 1, not {p}")
    return x * dropout_mask(x, p, rng)


dropout_mask = op("dropout_mask", "Like x, in shape and dtype: 0 with probability p, else 1 / (1 - p).",
                  lambda xp, x, p, rng: drawn(draw_mask, xp, x, p, rng), None)  # fmt: skip
normal_like = op("normal_like", "Like x, in shape and dtype: independent normal numbers of mean 0 and deviation sigma.",
                 lambda xp, x, sigma, rng: drawn(draw_normal, xp, x, sigma, rng), None)  # fmt: skip


def drawn(draw, xp, x, parameter, rng):
    """What `draw(rng, shape, dtype, parameter)` draws, on the device of `x`; images are drawn channels last."""
    if x.dtype.kind != "f":  # as integers, the draws would all be 0, or wrong
        raise TypeError(f"noise needs floating-point numbers, not {x.dtype}; use astype(numpy.float32) first")
    if x.ndim != 4:
        return backend.to_device(draw(rng, x.shape, x.dtype, parameter), backend.device_of(x))
    n, c, h, w = x.shape
    numbers = backend.to_device(draw(rng, (n, h, w, c), x.dtype, parameter), backend.device_of(x))
    return numbers.transpose(0, 3, 1, 2)


def draw_mask(rng, shape, dtype, p):
    """0 with probability p, else 1 / (1 - p): decided by `rng.random(shape, dtype=float32) >= p`."""
    keep = rng.random(shape, dtype=numpy.float32) >= p
    return keep.astype(dtype) * dtype.type(1 / (1 - p))


def draw_normal(rng, shape, dtype, sigma):
    """Independent normal numbers of mean 0 and standard deviation sigma.

    By pairs of uniform numbers u and v (Box & Muller 1958): with r = σ √(-2 log(1 - u)), r cos 2πv and r sin 2πv are
    two. So every number takes one draw, whatever it is; NumPy's own method, which takes one or more, could not be
    divided among threads. As u has 24 bits, no number is beyond 5.8 σ.
    """
    count, precise = math.prod(shape), numpy.result_type(dtype, numpy.float32)  # in float16, 1 - u might be 0
    u, v = rng.random((-(-count // 2), 2), dtype=numpy.float32).astype(precise, copy=False).T
    radius = numpy.sqrt(-2 * numpy.log(1 - u)) * precise.type(sigma)
    angle = v * precise.type(2 * math.pi)
    numbers = numpy.stack([radius * numpy.cos(angle), radius * numpy.sin(angle)], axis=1)
    return numbers.reshape(-1)[:count].reshape(shape).astype(dtype, copy=False)


def on_device_of(x, array):
    """`array` where `x` is: itself, or a copy."""
    return backend.to_device(array, backend.device_of(array_of(x)))


def array_of(x):
    """The array of a Tensor; an array itself."""
    return x._data if isinstance(x, Tensor) else x


def one_hot(labels, classes, dtype=numpy.float32):
    """(N,) integer labels as an (N, classes) array with a 1 in each row.

    IndexError if a label is out of range; if the labels are on the GPU, its row is NaN instead.
    """
    given = checked_labels(labels, classes)
    if numpy.dtype(dtype).kind != "f":  # there is no NaN
        checked_labels(backend.to_numpy(given), classes)
    rows = _one_hot(given, classes, dtype)
    return Tensor(rows) if isinstance(labels, Tensor) else rows


def _one_hot(labels, classes, dtype):
    labels = labels.data if isinstance(labels, Tensor) else labels
    xp = backend.array_module(labels)
    rows = (labels[:, None] == xp.arange(classes)).astype(dtype)
    return rows if xp is numpy else xp.where(_in_range(labels, classes)[:, None], rows, rows.dtype.type("nan"))


def _in_range(labels, classes):
    return (labels >= 0) & (labels < classes)


def checked_labels(labels, classes):
    """`labels` as a one-dimensional integer array; IndexError if one of them is not in 0 … classes - 1.

    Numbers on the GPU are not looked at: at every step the host would wait for all that the GPU has to do before.
    """
    labels = labels.data if isinstance(labels, Tensor) else labels
    labels = labels if backend.is_array(labels) else numpy.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise TypeError(f"labels must be a one-dimensional array of integers, not {labels.shape} {labels.dtype}")
    if backend.device_of(labels) != "cpu":
        return labels
    # Read as unsigned, a negative number is very large: one pass over the labels checks both bounds.
    as_unsigned = labels.view(labels.dtype.str.replace("i", "u"))
    if labels.size and as_unsigned.max() >= classes:
        raise IndexError(f"labels must lie between 0 and {classes - 1}, but go from {labels.min()} to {labels.max()}")
    return labels


def cross_entropy(logits, labels):
    """Mean of -log softmax(logits)[label].

    Parameters
    ----------
    logits : (N, classes) array or Tensor
    labels : (N,) array of integers
        IndexError if one is out of range, TypeError if they are not integers. Labels that are on the GPU already are
        not looked at, so as not to wait for it: there one out of range makes the loss NaN, and its row of the gradient.

    Returns
    -------
    0-d Tensor (or number, for plain arrays), in nats
    """
    if logits.ndim != 2 or len(logits) != len(labels):
        raise ValueError(f"cross_entropy: logits {logits.shape} must be (N, classes), with N = {len(labels)} labels")
    loss = _cross_entropy(logits, on_device_of(logits, checked_labels(labels, logits.shape[1])))
    return tensor(loss) if isinstance(labels, Tensor) and not isinstance(loss, Tensor) else loss


def _cross_entropy_rule(g, _y, x, labels):
    """What is predicted minus what is right, over the number of examples."""
    return (softmax(x) - _one_hot(labels, x.shape[1], x.dtype)) * (g / max(len(labels), 1))


@primitive(_cross_entropy_rule)
def _cross_entropy(xp, x, labels):
    """Mean of log Σ exp(x) - x[label]."""
    x = floats(xp, x)
    shifted = x - x.max(axis=1, keepdims=True)
    each = xp.log(xp.exp(shifted).sum(axis=1)) - shifted[xp.arange(len(labels)), labels]
    if xp is not numpy:  # CuPy counts on from the other end where a label is out of range
        each = xp.where(_in_range(labels, x.shape[1]), each, each.dtype.type("nan"))
    return each.mean()


def _one_target_each(name, prediction, target):
    """ValueError where broadcasting would compare more pairs than there are predictions, as in (N, 1) with (N,)."""
    shape, other = (getattr(x, "shape", ()) for x in (prediction, target))
    if len(other) > len(shape) or any(n not in (1, m) for n, m in zip(other[::-1], shape[::-1], strict=False)):
        raise ValueError(f"{name}: targets of shape {other} do not fit predictions of shape {shape}; reshape them")


def _difference(prediction, target):
    """prediction - target; of integers as float64, for their difference would wrap around."""
    if prediction.dtype.kind in "biu":
        prediction = astype(prediction, numpy.float64)
    return prediction - target


def binary_cross_entropy_with_logits(logits, targets):
    """Mean of -t log σ(x) - (1 - t) log(1 - σ(x)) = softplus(x) - t·x; targets between 0 and 1.

    Here and in the next two, `targets` have the shape of `logits` or can be broadcast to it, else a ValueError.
    """
    _one_target_each("binary_cross_entropy_with_logits", logits, targets)
    return mean(softplus(logits) - targets * logits)


def mse_loss(prediction, target):
    """Mean squared difference."""
    _one_target_each("mse_loss", prediction, target)
    return mean(square(_difference(prediction, target)))


def huber_loss(prediction, target, delta=1.0):
    """Mean of ½d² where |d| ≤ delta, else delta·(|d| - ½delta); ValueError unless delta is positive."""
    if not delta > 0:
        raise ValueError(f"huber_loss: delta must be positive, not {delta}")
    _one_target_each("huber_loss", prediction, target)
    d = abs(_difference(prediction, target))
    small = minimum(d, delta)
    return mean(0.5 * square(small) + delta * maximum(d - delta, 0))
