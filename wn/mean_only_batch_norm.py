"""Equations 7 and 8: mean-only batch normalization.

    t = w·x,   t̃ = t - μ[t] + b,   y = φ(t̃)           (7)
    ∇_t L = ∇_t̃ L - μ[∇_t̃ L]                            (8)

The minibatch mean is taken away, as in batch normalization, but nothing is divided by a standard deviation: that
weight normalization has seen to already.
"""

import numpy

from minigrad.nn import Buffer, Module, Parameter
from minigrad.nn.normalization import channel_axes, follow


class MeanOnlyBatchNorm(Module):
    """t̃ = t - μ[t] + b for each channel of (N, C) or (N, C, H, W) pre-activations (equation 7).

    In training, μ is the mean of the batch (and of all places in the image); in evaluation a running average. The
    layer before needs no bias of its own. Equation 8 is what autograd makes of the forward pass.

    Parameters
    ----------
    features : int
        C, the number of channels.
    momentum : float
        Weight of the newest batch in the running average; the authors' code uses 0.1.

    Attributes
    ----------
    bias : Parameter of shape (C,)
    running_mean : Buffer of shape (C,)
    """

    def __init__(self, features, momentum=0.1):
        super().__init__()
        self.features, self.momentum = features, momentum
        self.bias = Parameter(numpy.zeros(features, numpy.float32))
        self.running_mean = Buffer(numpy.zeros(features, numpy.float32))

    def forward(self, t):
        axes, shape = channel_axes(t, self.features, "MeanOnlyBatchNorm")
        if self.training:
            mean = t.mean(axis=axes)
            follow(self.running_mean, mean, self.momentum)
        else:
            mean = self.running_mean
        return t + (self.bias - mean).reshape(shape)

    def extra_repr(self):
        return f"{self.features}, momentum={self.momentum}"
