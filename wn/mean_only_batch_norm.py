"""Equations 7 and 8: mean-only batch normalization.

    t = w·x,   t̃ = t - μ[t] + b,   y = φ(t̃)           (7)
    ∇_t L = ∇_t̃ L - μ[∇_t̃ L]                            (8)

The minibatch mean is subtracted, as in batch normalization, but nothing is divided by a standard deviation: weight
normalization already takes care of the scale.
"""

import math

import numpy

import minigrad as mg
from minigrad.nn import Buffer, Module, Parameter
from minigrad.nn.normalization import channel_axes, follow, mean_of_all
from minigrad.op import primitive


class MeanOnlyBatchNorm(Module):
    """t̃ = t - μ[t] + b for each channel of (N, C) or (N, C, H, W) pre-activations (equation 7).

    In training, μ is the mean of the batch (and of all places in the image); in evaluation a running average. A bias
    of the layer before has no effect in training and gets a gradient of zero, so that layer needs none. In training
    the function is `mean_only`.

    The result has the dtype that `t` and the float32 parameters promote to: float32 stays float32, float64 stays
    float64. The running mean stays float32.

    Parameters
    ----------
    features : int
        C, the number of channels.
    momentum : float
        Weight of the newest batch in the running average, `(1 - momentum) · old + momentum · new`, which begins at 0;
        the authors' code uses 0.1. After k batches it has come 1 - (1 - momentum)^k of the way from 0; in the long run
        it is as noisy as a plain average of about 2/momentum - 1 batches. (TensorFlow and Keras call 1 - momentum by
        this name.)
    workers : minigrad.workers.Workers, optional
        Several machines: μ is then that of all workers' batches together, in both directions. They may differ in size.
        By default each worker subtracts the mean of its own, which is another function.

    Attributes
    ----------
    bias : Parameter of shape (C,)
    running_mean : Buffer of shape (C,)

    Raises
    ------
    ValueError
        If `t` has another shape, or, in training, fewer than two values a channel: with a single value
        t - μ[t] is always 0, so neither the input nor a gradient would pass. In evaluation any number will do.
    """

    def __init__(self, features: int, momentum: float = 0.1, workers: mg.workers.Workers | None = None):
        super().__init__()
        self.features, self.momentum, self.workers = features, momentum, workers
        self.bias = Parameter(numpy.zeros(features, numpy.float32))
        self.running_mean = Buffer(numpy.zeros(features, numpy.float32))

    def forward(self, t):
        axes, shape = channel_axes(t, self.features, "MeanOnlyBatchNorm")
        if self.training:
            if self.workers is None:
                self._check_count(t, math.prod(t.shape[axis] for axis in axes))
                shifted, mean = mean_only(t, self.bias)
            else:
                mean, count = mean_of_all(t, axes, self.workers)
                self._check_count(t, count)
                shifted = t + (self.bias - mean).reshape(shape)
            follow(self.running_mean, mean, self.momentum)
            return shifted
        return t + (self.bias - self.running_mean).reshape(shape)

    def _check_count(self, t, count):
        if count < 2:
            raise ValueError(
                f"MeanOnlyBatchNorm: in training, one value a channel less its own mean is 0, and nothing of t of "
                f"shape {t.shape} would be left; use a larger batch or eval()"
            )

    def extra_repr(self):
        return f"{self.features}, momentum={self.momentum}"


def mean_only(t, bias):
    """t - μ[t] + b for each channel, with the batch's own mean μ[t] (equation 7).

    Its gradients are `mean_only_gradients`; tests compare them with what autograd makes of equation 7 in single steps.

    Parameters
    ----------
    t : (N, C) or (N, C, H, W) array or Tensor
    bias : (C,) array or Tensor

    Returns
    -------
    shifted : like `t`
    mean : (C,) array
        μ[t]; no gradient flows back through it.
    """
    data = t.data if isinstance(t, mg.Tensor) else t
    mean = mg.mean(data, _places(data.ndim))
    return _mean_only(t, bias, mean), mean


def _places(ndim):
    """The axes of an array (N, C, …) to reduce for per-channel values."""
    return (0, *range(2, ndim))


@primitive(joint=lambda g, _shifted, _t, _bias, _mean: mean_only_gradients(g), operands=2)
def _mean_only(xp, t, bias, mean):
    """t - mean + bias, with mean that of t."""
    return t + (bias - mean).reshape(-1, *[1] * (t.ndim - 2))


def mean_only_gradients(grad):
    """The gradients of the loss for t and b from the gradient for t̃ = t - μ[t] + b, in training (equation 8).

    They are the backward rule of `mean_only`.

    Parameters
    ----------
    grad : (N, C) or (N, C, H, W) array or Tensor
        ∇_t̃ L.

    Returns
    -------
    grad_t : like `grad`
        ∇_t̃ L - μ[∇_t̃ L], with μ over all axes but the channel's. It adds up to zero in each channel.
    grad_b : (C,) array or Tensor
        Σ ∇_t̃ L over the same axes.

    Raises
    ------
    ValueError
        If `grad` has another number of dimensions, or no value at all.
    """
    if grad.ndim not in (2, 4) or grad.size == 0:
        raise ValueError(f"mean_only_gradients takes a gradient of shape (N, C) or (N, C, H, W), not {grad.shape}")
    axes = _places(grad.ndim)
    mean = mg.mean(grad, axes).reshape(-1, *[1] * (grad.ndim - 2))
    return grad - mean, mg.sum(grad, axes)
