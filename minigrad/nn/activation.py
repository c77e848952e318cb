"""Activations as layers, for use in `Sequential`."""

from minigrad.nn.module import Module
from minigrad.ops.elementwise import elu, leaky_relu, relu


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x):
        return relu(x)


class LeakyReLU(Module):
    """x where x > 0, else slope · x."""

    def __init__(self, slope=0.01):
        super().__init__()
        self.slope = slope

    def forward(self, x):
        return leaky_relu(x, self.slope)

    def extra_repr(self):
        return f"{self.slope}"


class ELU(Module):
    """x where x > 0, else alpha · (exp(x) - 1)."""

    def __init__(self, alpha=1.0):
        super().__init__()
        self.alpha = alpha

    def forward(self, x):
        return elu(x, self.alpha)

    def extra_repr(self):
        return f"{self.alpha}"
