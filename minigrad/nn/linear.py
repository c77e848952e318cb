"""Linear: every output is a weighted sum of every input, plus a bias."""

from typing import Any

import numpy

from minigrad.nn import functional
from minigrad.nn.module import Module, Parameter


class Linear(Module):
    """y = x Wᵀ + b, for x of shape (…, in_features).

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
    rng : numpy.random.Generator, optional
        Draws weight and bias, uniform in ±1/√in_features; give one for the same layer every time.
    """

    def __init__(self, in_features, out_features, bias=True, rng=None):
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        rng = rng or numpy.random.default_rng()
        self.weight = Parameter(uniform((out_features, in_features), in_features, rng))
        self.bias: Any = Parameter(uniform(out_features, in_features, rng)) if bias else None

    def forward(self, x):
        if x.shape[-1] != self.in_features:
            raise ValueError(f"Linear: x has {x.shape[-1]} features (shape {x.shape}), expected {self.in_features}")
        return functional.linear(x, self.weight, self.bias)

    def extra_repr(self):
        return f"{self.in_features}, {self.out_features}" + ("" if self.bias is not None else ", bias=False")


def uniform(shape, fan_in, rng):
    """float32 numbers, uniform in ±1/√fan_in."""
    limit = 1 / numpy.sqrt(max(fan_in, 1))
    return rng.uniform(-limit, limit, shape).astype(numpy.float32)
