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
        return x + functional.normal_like(x, self.sigma, self.rng) if self.training else x

    def extra_repr(self):
        return f"{self.sigma}"
