"""Section 2.1: how ‖v‖ grows, and what it does to the learning rate.

Since ∇_v L is orthogonal to v (equation 4), a step of plain gradient descent adds to v at a right angle:

    ‖v′‖² = ‖v‖² + η²‖∇_v L‖²,   that is  ‖v′‖ = √(1 + c²) ‖v‖  with  c = ‖Δv‖/‖v‖.

To first order w then moves by -η (g²/‖v‖²) M_w ∇_w L: the effective learning rate of w is η g²/‖v‖², and that of the
direction v/‖v‖ alone is η/‖v‖². It falls as v grows.
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy
import numpy.typing as npt

from minigrad import backend, nn, optim
from wn.gradients import other_axes
from wn.reparameterization import normalizations, output_axis


class NormTracker:
    """Records, layer by layer, how the weight vectors grow while a model is trained.

    Call `record()` after each `optimizer.step()`, while the gradients of that step are still there. For each layer
    with a weight-normalized weight it follows v; for other Linear and convolution layers it follows the weight
    itself, in place of v, with g = ‖w‖.

    On a GPU nothing here makes the host wait: what is recorded stays there until `history` or `state_dict` asks for it.

    Parameters
    ----------
    model : nn.Module
    optimizer : Optimizer
        Its `lr` is the learning rate η.
    every : int
        Keep the quantities of every so many steps. The sum behind "predicted_norm" uses every step all the same.
    quantities : sequence of str
        What to keep, some of `QUANTITIES`; see `history`. "predicted_norm" is the only one that costs time in the steps
        between.
    dtype : dtype
        Of the records; float32 takes half the room, in memory and in a checkpoint.

    Attributes
    ----------
    layers : list of str
        Names of the layers.
    steps : list of int
        The steps recorded; step 0 is the beginning.
    """

    QUANTITIES = ("norm", "g", "grad_norm", "relative_step", "effective_lr", "predicted_norm")

    def __init__(
        self,
        model: nn.Module,
        optimizer: optim.Optimizer,
        every: int = 1,
        quantities: Sequence[str] = QUANTITIES,
        dtype: npt.DTypeLike = numpy.float64,
    ):
        if unknown := set(quantities) - set(self.QUANTITIES):
            raise ValueError(f"no quantities {sorted(unknown)}; there are {self.QUANTITIES}")
        self.optimizer, self.every = optimizer, every
        self.quantities, self.dtype = tuple(quantities), numpy.dtype(dtype)
        self._weights = _weights(model)
        self.layers = [name for name, *_ in self._weights]
        self.steps, self._rates, self._count = [], [], 0
        self._rows = {name: {q: [] for q in self._stored(length)} for name, _, length, _ in self._weights}
        self._before = {name: v.data for name, v, _, _ in self._weights}
        self._predicted = {}
        if "predicted_norm" in self.quantities:
            self._predicted = {name: _norm(v.data, axis) ** 2 for name, v, _, axis in self._weights}
        self._keep()

    def _stored(self, length):
        """The quantities of which every record is kept: η/‖v‖² follows from the norm, and g is ‖w‖ where w is v."""
        return {"norm", *self.quantities} - {"effective_lr"} - (set() if length else {"g"})

    def record(self) -> None:
        """Take note of the step just made."""
        self._count += 1
        if self._predicted:
            for name, v, _, axis in self._weights:
                if v.grad is not None:
                    squares = (self.optimizer.lr * _norm(v.grad.data, axis)) ** 2
                    self._predicted[name] = backend.to_device(self._predicted[name], v.device) + squares
        if self._count % self.every == 0:
            self._keep()
        self._before = {name: v.data for name, v, _, _ in self._weights}

    def _keep(self):
        self.steps.append(self._count)
        self._rates.append(self.optimizer.lr)
        for name, v, length, axis in self._weights:
            for quantity, rows in self._rows[name].items():
                rows.append(self._measured(quantity, name, v, length, axis).astype(self.dtype))

    def _measured(self, quantity, name, v, length, axis):
        """One quantity of one layer, for each of its weight vectors."""
        if quantity == "norm":
            return _norm(v.data, axis)
        if quantity == "g":
            return length()
        if quantity == "relative_step":  # at the beginning nothing has been before
            before = backend.to_device(self._before[name], v.device)
            return _norm(v.data - before, axis) / _norm(before, axis)
        if quantity == "grad_norm":
            return _norm(v.data * 0 if v.grad is None else v.grad.data, axis)
        return self._predicted[name] ** 0.5

    def history(self, layer: str, quantity: str) -> numpy.ndarray:
        """One quantity of one layer over time.

        Parameters
        ----------
        layer : str
        quantity : str
            "norm": ‖v‖. "g": the length of w. "grad_norm": ‖∇_v L‖ at the last step. "relative_step": c = ‖Δv‖/‖v‖ of
            the last step, whatever the optimizer; to first order the angle, in radians, by which w turned.
            "effective_lr": η/‖v‖², of the direction under plain gradient descent; times g² it is that of w.
            "predicted_norm": √(‖v₀‖² + Σ η²‖∇_v L‖²), what plain gradient descent would lead to.

        Returns
        -------
        (len(steps), units) array on the CPU
        """
        if layer not in self._rows:
            raise KeyError(f"no layer {layer!r}; there are {self.layers}")
        if quantity not in self.quantities:
            raise KeyError(f"no quantity {quantity!r}; there are {self.quantities}")
        rows = self._rows[layer]
        if quantity == "effective_lr":
            return numpy.array(self._rates, self.dtype)[:, None] / _on_host(rows["norm"]) ** 2
        return _on_host(rows[quantity if quantity in rows else "norm"])

    def state_dict(self) -> dict[str, Any]:
        """What has to be saved to go on later."""
        return {
            "count": self._count,
            "steps": list(self.steps),
            "rates": list(self._rates),
            "predicted": {name: numpy.array(backend.to_numpy(squares)) for name, squares in self._predicted.items()},
            "rows": {name: {q: _on_host(r) for q, r in rows.items()} for name, rows in self._rows.items()},
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave; call it after the model and the optimizer have been restored."""
        mine, theirs = ({n: sorted(rows) for n, rows in r.items()} for r in (self._rows, saved["rows"]))
        if mine != theirs:
            raise ValueError(f"the saved history is of layers and quantities {theirs}, the tracker's are {mine}")
        self._count, self.steps, self._rates = saved["count"], list(saved["steps"]), list(saved["rates"])
        self._rows = {name: {q: list(r) for q, r in rows.items()} for name, rows in saved["rows"].items()}
        self._before = {name: v.data for name, v, _, _ in self._weights}
        devices = {name: v.device for name, v, _, _ in self._weights}
        self._predicted = {n: backend.to_device(squares, devices[n]) for n, squares in saved["predicted"].items()}


def _on_host(rows):
    """The records of one quantity as one array; each comes from the GPU once."""
    rows[:] = [backend.to_numpy(row) for row in rows]
    return numpy.stack(rows)


def _weights(model):
    """(layer's name, v or weight, function that gives g or None, axis) for every layer that has weight vectors."""
    found = []
    for name, layer in model.named_modules():
        kinds = normalizations(layer)
        for kind in kinds:
            label = name if kind.name == "weight" else f"{name}.{kind.name}"
            found.append((label, getattr(layer, f"{kind.name}_v"), functools.partial(_length, layer, kind), kind.axis))
        if not kinds and isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            found.append((name, layer.weight, None, output_axis(layer)))
    return found


def _length(layer, kind):
    """g, or e^s, of each weight vector."""
    return kind.length(layer).data.ravel()


def _norm(array, axis):
    """The norm of each weight vector, added up in float64."""
    xp = backend.array_module(array)
    squares = array.astype(xp.float64) ** 2
    return xp.sqrt(squares.sum(axis=other_axes(array.ndim, axis))).ravel()
