"""Dropout and GaussianNoise: layers that are active in training only."""

import numpy

from minigrad import backend
from minigrad.kernels import random
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
        functional.refuse_integers(x, "GaussianNoise")
        noise = functional.drawn_for(x, self._drawn_ahead if self._waits_for_gpu(x) else self._drawn)
        noise *= numpy.float32(self.sigma)
        return x + functional.on_device_of(x, noise.astype(x.dtype, copy=False))

    def _drawn(self, shape):
        return self.rng.standard_normal(shape, dtype=numpy.float32)

    def _drawn_ahead(self, shape):
        return random.standard_normal(self.rng, shape)

    def _waits_for_gpu(self, x):
        """Whether a GPU would have to wait while these numbers are drawn."""
        return x.size >= 2**14 and backend.device_of(functional.array_of(x)) != "cpu" and random.supported(self.rng)

    def extra_repr(self):
        return f"{self.sigma}"
