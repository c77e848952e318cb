"""LSTMCell: a step of a recurrent network that chooses what to remember."""

import numpy

from minigrad import backend
from minigrad.nn import functional
from minigrad.nn.linear import uniform
from minigrad.nn.module import Module, Parameter
from minigrad.ops.elementwise import sigmoid, tanh
from minigrad.ops.shape import split


class LSTMCell(Module):
    """One step of a long short-term memory (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000).

    i, f, o = σ(…), g = tanh(…), each of its own W x + U h + b;   c' = f · c + i · g,   h' = o · tanh(c')

    Names and order are PyTorch's: `weight_ih` (4·hidden, input) and `weight_hh` (4·hidden, hidden) hold W and U for
    i, f, g, o one below the other, `bias_ih` and `bias_hh` (4·hidden,) are added to each other.

    Parameters
    ----------
    input_size, hidden_size : int
    bias : bool
    rng : numpy.random.Generator, optional
        Draws weights and biases, uniform in ±1/√hidden_size.
    """

    def __init__(self, input_size, hidden_size, bias=True, rng=None):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        rng = rng or numpy.random.default_rng()
        self.weight_ih = Parameter(uniform((4 * hidden_size, input_size), hidden_size, rng))
        self.weight_hh = Parameter(uniform((4 * hidden_size, hidden_size), hidden_size, rng))
        self.bias_ih = Parameter(uniform(4 * hidden_size, hidden_size, rng)) if bias else None
        self.bias_hh = Parameter(uniform(4 * hidden_size, hidden_size, rng)) if bias else None

    def forward(self, x, state=None):
        """The next state.

        Parameters
        ----------
        x : (…, input_size) array or Tensor
        state : (h, c), optional
            Each (…, hidden_size); zeros by default.

        Returns
        -------
        h, c : Tensor
        """
        shape = (*x.shape[:-1], self.hidden_size)
        if state is None:
            state = (backend.array_module(getattr(x, "_data", x)).zeros(shape, x.dtype),) * 2
        h, c = state
        if x.shape[-1:] != (self.input_size,) or h.shape != shape or c.shape != shape:
            raise ValueError(
                f"LSTMCell: expected x (…, {self.input_size}) and h and c (…, {self.hidden_size}) with the same first "
                f"axes, got {x.shape}, {h.shape} and {c.shape}"
            )
        gates = functional.linear(x, self.weight_ih, self.bias_ih) + functional.linear(h, self.weight_hh, self.bias_hh)
        i, f, g, o = split(gates, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        return sigmoid(o) * tanh(c), c

    def extra_repr(self):
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias_ih is not None else ", bias=False")
