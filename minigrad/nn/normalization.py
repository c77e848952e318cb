"""BatchNorm, LayerNorm, GroupNorm: features with mean 0 and variance 1, then a learned scale and shift."""

import math

import numpy

from minigrad import backend
from minigrad.nn import functional
from minigrad.nn.module import Buffer, Module, Parameter
from minigrad.op import op
from minigrad.ops import concatenate, square, sum
from minigrad.ops.shape import unbroadcast
from minigrad.tensors import Tensor
from minigrad.workers import total


class BatchNorm(Module):
    """Batch normalization (Ioffe & Szegedy 2015) of (N, C) or (N, C, H, W), for each channel C.

    In training, t' = γ (t - μ) / √(σ² + eps) + β with the batch's own mean μ and biased variance σ²; in evaluation
    with running averages, which follow the batches as `(1 - momentum) · old + momentum · new`, the variance unbiased.

    Parameters
    ----------
    features : int
    momentum : float
        Weight of the newest batch in the running averages.
    eps : float
    workers : minigrad.workers.Workers, optional
        Several machines: the batch is then that of all workers together, in both directions. Their parts may differ
        in size. By default each worker normalizes by its own part, which is another function.
    """

    def __init__(self, features, momentum=0.1, eps=1e-5, workers=None):
        super().__init__()
        self.features, self.momentum, self.eps, self.workers = features, momentum, eps, workers
        self.weight = Parameter(numpy.ones(features, numpy.float32))
        self.bias = Parameter(numpy.zeros(features, numpy.float32))
        self.running_mean = Buffer(numpy.zeros(features, numpy.float32))
        self.running_var = Buffer(numpy.ones(features, numpy.float32))

    def forward(self, x):
        _, shape = channel_axes(x, self.features, "BatchNorm")
        if self.training:
            y, mean, var, count = self._by_own_batch(x) if self.workers is None else self._by_batch_of_all(x)
            follow(self.running_mean, mean, self.momentum)
            follow(self.running_var, var * (count / (count - 1)), self.momentum)
            return y
        xp = backend.array_module(self.running_var._data)
        scale = 1 / xp.sqrt(self.running_var._data + self.running_var.dtype.type(self.eps))
        y = (x - self.running_mean.reshape(shape)) * scale.reshape(shape)
        return y * self.weight.reshape(shape) + self.bias.reshape(shape)

    def _by_own_batch(self, x):
        """The result, the batch's mean and biased variance, and how many values a channel they are of."""
        count = x.size // self.features
        self._check_count(count)
        return *functional.batch_norm(x, self.weight, self.bias, self.eps), count

    def _by_batch_of_all(self, x):
        """The same with all workers' batches as one."""
        axes, shape = channel_axes(x, self.features, "BatchNorm")
        mean, count = mean_of_all(x, axes, self.workers)
        self._check_count(count)
        centered = x - mean.reshape(shape)
        var = total(sum(square(centered), axes), self.workers) / count
        scale = functional.inverse_deviation(var, self.eps) * self.weight
        return centered * scale.reshape(shape) + self.bias.reshape(shape), mean, var, count

    def _check_count(self, count):
        if count < 2:
            raise ValueError("BatchNorm: training needs more than one value a channel; use a larger batch or eval()")

    def extra_repr(self):
        return f"{self.features}, momentum={self.momentum}, eps={self.eps}"


def channel_axes(x, features, name):
    """(the axes to average over, the shape that lines channels up with x) for x (N, C) or (N, C, H, W)."""
    if x.ndim not in (2, 4) or x.shape[1] != features:
        raise ValueError(f"{name}: expected x of shape (N, {features}) or (N, {features}, H, W), got {x.shape}")
    return ((0,), (1, -1)) if x.ndim == 2 else ((0, 2, 3), (1, -1, 1, 1))


def mean_of_all(x, axes, workers):
    """The mean of all workers' x over these axes, and of how many values it is, by one sum that sends both."""
    sums = sum(x.astype(numpy.float32) if x.dtype == numpy.float16 else x, axes)  # in float16 it would overflow
    own = functional.array_of(sums)
    count = backend.array_module(own).full(1, math.prod(x.shape[axis] for axis in axes), own.dtype)
    sums = total(concatenate([sums, count]), workers)
    count = float(sums[-1])
    return sums[:-1] / count, count


lerp = op("lerp", "The way from a to b, a fraction of it: (1 - fraction) · a + fraction · b.",
          lambda xp, a, b, fraction=0.5: a * (1 - fraction) + b * fraction,
          lambda g, _y, _a, _b, fraction=0.5: unbroadcast(g * (1 - fraction), _a),
          lambda g, _y, _a, _b, fraction=0.5: unbroadcast(g * fraction, _b))  # fmt: skip


def follow(running, new, momentum):
    """Move a running average towards a new value."""
    new = new._data if isinstance(new, Tensor) else new
    running.replace(lerp(running._data, new.astype(running.dtype, copy=False), momentum))


class LayerNorm(Module):
    """Layer normalization (Ba et al. 2016): each example's last axis gets mean 0 and variance 1, then γ and β."""

    def __init__(self, features, eps=1e-5):
        super().__init__()
        self.features, self.eps = features, eps
        self.weight = Parameter(numpy.ones(features, numpy.float32))
        self.bias = Parameter(numpy.zeros(features, numpy.float32))

    def forward(self, x):
        if x.shape[-1] != self.features:
            raise ValueError(f"LayerNorm: expected a last axis of size {self.features}, got shape {x.shape}")
        return functional.normalize(x, (x.ndim - 1,), self.eps) * self.weight + self.bias

    def extra_repr(self):
        return f"{self.features}, eps={self.eps}"


class GroupNorm(Module):
    """Group normalization (Wu & He 2018) of (N, C) or (N, C, H, W): each example by itself, whatever the batch.

    The channels are divided into groups, one after the other. All values of one example in one group get mean 0 and
    (biased) variance 1, then each channel its γ and β. One group is layer normalization over (C, H, W), as many groups
    as channels instance normalization.

    Parameters
    ----------
    groups, channels : int
        ValueError unless the channels divide into so many equal groups.
    eps : float
        Added to the variance.
    """

    def __init__(self, groups, channels, eps=1e-5):
        super().__init__()
        if groups < 1 or channels % groups:
            raise ValueError(f"GroupNorm: {channels} channels do not divide into {groups} equal groups")
        self.groups, self.channels, self.eps = groups, channels, eps
        self.weight = Parameter(numpy.ones(channels, numpy.float32))
        self.bias = Parameter(numpy.zeros(channels, numpy.float32))

    def forward(self, x):
        _, shape = channel_axes(x, self.channels, "GroupNorm")
        if x.size:  # of nothing there is no mean
            grouped = x.reshape((len(x), self.groups, self.channels // self.groups, *x.shape[2:]))
            x = functional.normalize(grouped, tuple(range(2, grouped.ndim)), self.eps).reshape(x.shape)
        return x * self.weight.reshape(shape) + self.bias.reshape(shape)

    def extra_repr(self):
        return f"{self.groups}, {self.channels}, eps={self.eps}"
