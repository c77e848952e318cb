"""LSTMCell: a step of a recurrent network that chooses what to remember."""

from typing import Any

import numpy

from minigrad import backend
from minigrad.nn import functional
from minigrad.nn.linear import uniform
from minigrad.nn.module import Module, Parameter
from minigrad.op import primitive
from minigrad.ops.elementwise import sigmoid, tanh
from minigrad.ops.shape import concatenate, scatter, split


class LSTMCell(Module):
    """One step of a long short-term memory (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000).

    i, f, o = σ(…), g = tanh(…), each of its own W x + U h + b;   c' = f · c + i · g,   h' = o · tanh(c')

    Names and order are PyTorch's: `weight_ih` (4·hidden, input) and `weight_hh` (4·hidden, hidden) hold W and U for
    i, f, g, o one below the other, `bias_ih` and `bias_hh` (4·hidden,) are added to each other.

    With peepholes (Gers & Schmidhuber 2000), which PyTorch's cell lacks, the gates also see what the cell remembers,
    each unit's gates the unit's own c: i and f get p_i · c and p_f · c before σ, and o, which decides last, p_o · c'.
    `weight_peephole` (3, hidden) holds p_i, p_f and p_o. These are single numbers, so weight normalization, which
    normalizes vectors, leaves them alone.

    Parameters
    ----------
    input_size, hidden_size : int
    bias : bool
    rng : numpy.random.Generator, optional
        Draws weights and biases, uniform in ±1/√hidden_size.
    peepholes : bool
    """

    def __init__(self, input_size, hidden_size, bias=True, rng=None, peepholes=False):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        rng = rng or numpy.random.default_rng()
        self.weight_ih = Parameter(uniform((4 * hidden_size, input_size), hidden_size, rng))
        self.weight_hh = Parameter(uniform((4 * hidden_size, hidden_size), hidden_size, rng))
        self.bias_ih: Any = Parameter(uniform(4 * hidden_size, hidden_size, rng)) if bias else None
        self.bias_hh: Any = Parameter(uniform(4 * hidden_size, hidden_size, rng)) if bias else None
        self.weight_peephole: Any = Parameter(uniform((3, hidden_size), hidden_size, rng)) if peepholes else None

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
        if not isinstance(state, (tuple, list)) or len(state) != 2:
            raise TypeError(f"LSTMCell: the state is a pair (h, c), not {type(state).__name__}")
        h, c = state
        if x.shape[-1:] != (self.input_size,) or h.shape != shape or c.shape != shape:
            raise ValueError(
                f"LSTMCell: expected x (…, {self.input_size}) and h and c (…, {self.hidden_size}) with the same first "
                f"axes, got {x.shape}, {h.shape} and {c.shape}"
            )
        gates = functional.linear(x, self.weight_ih, self.bias_ih) + functional.linear(h, self.weight_hh, self.bias_hh)
        if self.weight_peephole is None:
            c = lstm_cell_state(gates, c)
            return lstm_output(gates, c), c
        p_i, p_f, p_o = self.weight_peephole
        seen = concatenate([p_i * c, p_f * c], axis=-1)
        c = lstm_cell_state(gates + scatter(seen, (..., slice(seen.shape[-1])), gates.shape), c)
        gates = gates + scatter(p_o * c, (..., slice(-self.hidden_size, None)), gates.shape)
        return lstm_output(gates, c), c

    def extra_repr(self):
        options = {"bias=False": self.bias_ih is None, "peepholes=True": self.weight_peephole is not None}
        return ", ".join([str(self.input_size), str(self.hidden_size), *(o for o, is_so in options.items() if is_so)])


# ---- what the gates do: two ops, the second of which needs what the first has made ----------------------------------
#
# `gates` (…, 4·hidden) holds i, f, g and o one after the other, before σ and tanh; c and c' are (…, hidden).


def _cell_state_rule(grad, _y, gates, c):
    """The gradients for the gates, of which o has no part in c', and for c."""
    i, f, g, _ = split(gates, 4, axis=-1)
    i, f, g = sigmoid(i), sigmoid(f), tanh(g)
    of_three = concatenate([grad * g * i * (1 - i), grad * c * f * (1 - f), grad * i * (1 - g * g)], axis=-1)
    return scatter(of_three, (..., slice(of_three.shape[-1])), gates.shape), grad * f


@primitive(joint=_cell_state_rule, operands=2)
def lstm_cell_state(xp, gates, c):
    """c' = σ(f) · c + σ(i) · tanh(g), what the cell remembers."""
    check_gates(gates, c)
    i, f, g, _ = split(gates, 4, axis=-1)
    return sigmoid(f) * c + sigmoid(i) * tanh(g)


def _output_rule(grad, _y, gates, c):
    """The gradients for the gates, of which h' takes o alone, and for c'."""
    o, t = sigmoid(split(gates, 4, axis=-1)[3]), tanh(c)
    return scatter(grad * t * o * (1 - o), (..., slice(-o.shape[-1], None)), gates.shape), grad * o * (1 - t * t)


@primitive(joint=_output_rule, operands=2)
def lstm_output(xp, gates, c):
    """h' = σ(o) · tanh(c'), what others see of it."""
    check_gates(gates, c)
    return sigmoid(split(gates, 4, axis=-1)[3]) * tanh(c)


def check_gates(gates, c):
    """ValueError unless `gates` are four times as wide as `c`."""
    if not c.ndim or gates.shape != (*c.shape[:-1], 4 * c.shape[-1]):
        raise ValueError(f"expected gates (…, 4·hidden) and c (…, hidden), got {gates.shape} and {c.shape}")
