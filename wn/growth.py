"""Section 2.1: how ‖v‖ grows, and what it does to the learning rate.

Since ∇_v L is orthogonal to v (equation 4), a step of plain gradient descent adds to v at a right angle:

    ‖v′‖² = ‖v‖² + η²‖∇_v L‖²,   that is  ‖v′‖ = √(1 + c²) ‖v‖  with  c = ‖Δv‖/‖v‖.

To first order w then moves by -η (g²/‖v‖²) M_w ∇_w L: the effective learning rate of w is η g²/‖v‖², and that of the
direction v/‖v‖ alone is η/‖v‖². It falls as v grows.
"""

import functools

import numpy

from minigrad import backend, nn
from wn.gradients import other_axes
from wn.reparameterization import normalizations, output_axis


class NormTracker:
    """Records, layer by layer, how the weight vectors grow while a model is trained.

    Call `record()` after each `optimizer.step()`, while the gradients of that step are still there. For each layer
    with a weight-normalized weight it follows v; for other Linear and convolution layers it follows the weight
    itself, in place of v, with g = ‖w‖.

    Parameters
    ----------
    model : nn.Module
    optimizer : Optimizer
        Its `lr` is the learning rate η.
    every : int
        Keep the quantities of every so many steps. The sum behind `predicted_norm` uses every step all the same.

    Attributes
    ----------
    layers : list of str
        Names of the layers.
    steps : list of int
        The steps recorded; step 0 is the beginning.
    """

    QUANTITIES = ("norm", "g", "grad_norm", "relative_step", "effective_lr", "predicted_norm")

    def __init__(self, model, optimizer, every=1):
        self.optimizer, self.every = optimizer, every
        self._weights = _weights(model)
        self.layers = [name for name, *_ in self._weights]
        self.steps, self._count = [], 0
        self._rows = {name: {quantity: [] for quantity in self.QUANTITIES} for name in self.layers}
        self._before = {name: v.data for name, v, _, _ in self._weights}
        self._predicted = {name: _norm(v.data, axis) ** 2 for name, v, _, axis in self._weights}
        self._keep(first=True)

    def record(self):
        """Take note of the step just made."""
        self._count += 1
        for name, v, _, axis in self._weights:
            if v.grad is not None:
                self._predicted[name] = self._predicted[name] + (self.optimizer.lr * _norm(v.grad.data, axis)) ** 2
        if self._count % self.every == 0:
            self._keep()
        self._before = {name: v.data for name, v, _, _ in self._weights}

    def _keep(self, first=False):
        self.steps.append(self._count)
        for name, v, length, axis in self._weights:
            norm = _norm(v.data, axis)
            zeros = numpy.zeros_like(norm)
            before = backend.to_device(self._before[name], v.device)
            step = zeros if first else _norm(v.data - before, axis)
            values = {
                "norm": norm,
                "g": length() if length else norm,
                "grad_norm": zeros if v.grad is None else _norm(v.grad.data, axis),
                "relative_step": zeros if first else step / _norm(before, axis),
                "effective_lr": self.optimizer.lr / norm**2,
                "predicted_norm": numpy.sqrt(self._predicted[name]),
            }
            for quantity, value in values.items():
                self._rows[name][quantity].append(value)

    def history(self, layer, quantity):
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
        (len(steps), units) array
        """
        if layer not in self._rows:
            raise KeyError(f"no layer {layer!r}; there are {self.layers}")
        if quantity not in self.QUANTITIES:
            raise KeyError(f"no quantity {quantity!r}; there are {self.QUANTITIES}")
        return numpy.stack(self._rows[layer][quantity])

    def state_dict(self):
        """What has to be saved to go on later."""
        return {
            "count": self._count,
            "steps": list(self.steps),
            "predicted": dict(self._predicted),
            "rows": {name: {q: numpy.stack(r) for q, r in rows.items()} for name, rows in self._rows.items()},
        }

    def load_state_dict(self, saved):
        """Go on from what `state_dict` gave; call it after the model and the optimizer have been restored."""
        if sorted(saved["rows"]) != sorted(self._rows):
            raise ValueError(f"the saved history is of layers {sorted(saved['rows'])}, the model has {self.layers}")
        self._count, self.steps, self._predicted = saved["count"], list(saved["steps"]), dict(saved["predicted"])
        self._rows = {name: {q: list(r) for q, r in rows.items()} for name, rows in saved["rows"].items()}
        self._before = {name: v.data for name, v, _, _ in self._weights}


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
    """g, or e^s, of each weight vector, on the host."""
    return kind.length(layer).numpy().ravel()


def _norm(array, axis):
    """The norm of each weight vector, added up in float64, on the host."""
    xp = backend.array_module(array)
    squares = array.astype(xp.float64) ** 2
    return backend.to_numpy(xp.sqrt(squares.sum(axis=other_axes(array.ndim, axis)))).ravel()
