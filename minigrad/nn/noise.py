"""Dropout and GaussianNoise: layers that are active in training only."""

import numpy

from minigrad.nn import functional
from minigrad.nn.module import Module


class Dropout(Module):
    """In training, sets entries to 0 with probability `p`, divides the others by 1 - p (Srivastava et al. 2014)."""

    def __init__(self, p=0.5, rng=None):
        super().__init__()
        self.p, self.rng = p, rng or numpy.random.default_rng()

    def forward(self, x):
        return functional.dropout(x, self.p, self.rng) if self.training else x

    def extra_repr(self):
        return f"{self.p}"


class GaussianNoise(Module):
    """In training, adds independent normal noise of standard deviation `sigma` to each entry."""

    def __init__(self, sigma, rng=None):
        super().__init__()
        self.sigma, self.rng = sigma, rng or numpy.random.default_rng()

    def forward(self, x):
        if not self.training:
            return x
        noise = functional.drawn_for(x, lambda shape: self.rng.standard_normal(shape, dtype=numpy.float32))
        noise *= numpy.float32(self.sigma)
        return x + functional.on_device_of(x, noise.astype(x.dtype, copy=False))

    def extra_repr(self):
        return f"{self.sigma}"
