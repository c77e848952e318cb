"""Equation 2: w = g v/‖v‖. A weight vector as a length g (or e^s) and a direction v/‖v‖.

The law: ‖w‖ = |g|, whatever v is (section 2), so stretching v changes nothing.

`weight_norm` is the function; `WeightNorm`, `apply_weight_norm` and `remove_weight_norm` put it into layers.
"""

from dataclasses import dataclass

import numpy

import minigrad as mg
from minigrad import backend, nn
from minigrad.op import primitive
from minigrad.tensors import Tensor
from wn.gradients import as_column, explicit_gradients, other_axes


def weight_norm(v, g, axis=0):
    """w = g v/‖v‖, one length and one direction for each index along `axis` (equation 2).

    Its gradients are equation 3 in closed form, `wn.explicit_gradients`; tests compare them with those that autograd
    derives from `weight_norm_composite`. For g = e^s (section 2) pass `mg.exp(s)`.

    Parameters
    ----------
    v : array or Tensor
        The directions; ‖v‖ runs over every axis but `axis`. float32 or float64: in half precision ‖v‖² would overflow
        as soon as ‖v‖ reaches 256.
    g : array or Tensor
        The lengths, in shape (v.shape[axis],) or any other with as many entries.
    axis : int, tuple of int, or None
        What indexes the weight vectors: usually the output axis. With several axes there is a vector for each
        combination of their indices; with None there is one, all of v.

    Returns
    -------
    array or Tensor of the shape of v

    Raises
    ------
    ValueError
        If the shapes do not fit, or if a weight vector is zero (on the GPU it becomes NaN: to look at every norm
        would make the host wait).
    """
    return _weight_norm(v, g, axis)


@primitive(joint=lambda grad_w, _w, v, g, axis: explicit_gradients(grad_w, v, g, axis), operands=2)
def _weight_norm(xp, v, g, axis):
    """g v/‖v‖."""
    norm = mg.norm(v, other_axes(v.ndim, axis), keepdims=True)
    if xp is numpy:
        _refuse_zero_norms(norm, "v")
    return v / norm * as_column(g, v, axis)  # the direction first: g/‖v‖ might overflow or vanish


def weight_norm_composite(v, g, axis=0):
    """The same function out of the library's ordinary ops, so that autograd finds its gradients by itself."""
    axes = other_axes(v.ndim, axis)
    return as_column(g, v, axis) * v / mg.norm(v, axes, keepdims=True)


@dataclass(frozen=True)
class WeightNormalization:
    """How one weight of a layer is computed: from which parameters, with which axis, and with which kind of scale."""

    name: str
    axis: int | tuple | None
    scale: str

    def __call__(self, layer):
        try:
            w = weight_norm(getattr(layer, f"{self.name}_v"), self.length(layer), self.axis)
        except ValueError as error:
            raise ValueError(f"{_where(layer, self.name)}: {error}") from error
        return EffectiveWeight(w._data, w._node)

    def __str__(self):
        return f"{'g' if self.scale == 'linear' else 'e^s'} v/‖v‖ along axis {self.axis}"

    def length(self, layer):
        """‖w‖ for each weight vector: g, or e^s."""
        g = getattr(layer, f"{self.name}_g")
        return g if self.scale == "linear" else mg.exp(g)

    def multiply_length(self, layer, factor):
        """Make every weight vector `factor` times as long (one positive number for each)."""
        g = getattr(layer, f"{self.name}_g")
        factor = factor.reshape(g.shape).astype(g.dtype)
        g.data = g.data * factor if self.scale == "linear" else g.data + backend.array_module(factor).log(factor)

    def check_state(self, layer, state, path=""):
        """Refuse directions of length zero, for which w is undefined; `path` is where in the model the layer is."""
        if f"{self.name}_v" in state:
            _check_vectors(state[f"{self.name}_v"], self.axis, _where(layer, f"{self.name}_v", path))


class EffectiveWeight(Tensor):
    """w = g v/‖v‖ as a layer computes it. It is a result: numbers assigned to it would be lost, so that is an error."""

    __slots__ = ()

    @Tensor.data.setter
    def data(self, array):
        raise AttributeError(
            "this weight is computed as w = g v/‖v‖, and what is assigned to it would be lost: assign to the layer's "
            "_v and _g, or call wn.remove_weight_norm, assign, and normalize again"
        )


def weights(layer):
    """The names of the parameters of one layer that hold weight vectors."""
    if isinstance(layer, nn.LSTMCell):
        return ("weight_ih", "weight_hh")
    return ("weight",) if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)) else ()


def output_axis(layer, name="weight"):
    """The axis of a layer's weight that indexes its outputs: 1 for transposed convolutions, else 0."""
    return 1 if isinstance(layer, nn.ConvTranspose2d) and name == "weight" else 0


def WeightNorm(layer, name="weight", axis="output", scale="linear"):  # noqa: N802 - reads like the layers it stands among
    """Weight-normalize one weight of a layer, in place, without changing what the layer computes.

    The parameter `name` is replaced by two: `name_v`, which starts as the weight itself, and `name_g`, which starts
    at its norms (or their logarithms). `layer.name` stays readable, as w = g v/‖v‖, computed anew at each access; it
    cannot be assigned to. Make the optimizer afterwards: `name` is no parameter any more.

    Parameters
    ----------
    layer : nn.Module
    name : str
        Which of its parameters, in float32 or float64.
    axis : "output", int, tuple of int, or None
        What indexes the weight vectors: by default the layer's outputs, axis 1 for ConvTranspose2d and 0 for all other
        layers. With None the whole weight is one vector, and `name_g` a single number.
    scale : {"linear", "exp"}
        Whether `name_g` is the length g, or its logarithm s with g = e^s (section 2 of the paper).

    Returns
    -------
    nn.Module
        `layer` itself.

    Raises
    ------
    ValueError
        If a weight vector is zero, if the layer has no such parameter, if it is normalized already, or if it is in
        half precision.
    """
    if scale not in ("linear", "exp"):
        raise ValueError(f'scale must be "linear" (g) or "exp" (g = e^s), not {scale!r}')
    axis = output_axis(layer, name) if axis == "output" else axis
    if name in layer._computed:
        raise ValueError(f"{type(layer).__name__}.{name} is computed already, by {layer._computed[name]}")
    weight = vars(layer).get(name)
    if not isinstance(weight, nn.Parameter):
        have = [n for n, value in vars(layer).items() if isinstance(value, nn.Parameter)]
        raise ValueError(f"{type(layer).__name__} has no parameter {name!r}; it has {have}")
    _check_vectors(weight.data, axis, _where(layer, name))
    lengths = mg.norm(weight.data, other_axes(weight.ndim, axis), keepdims=True)
    g = lengths if scale == "linear" else mg.log(lengths)
    layer.compute(name, WeightNormalization(name, axis, scale))
    for part, array in (("g", g.reshape(()) if axis is None else g), ("v", weight.data)):
        setattr(layer, f"{name}_{part}", _parameter(array, weight.requires_grad))
    return layer


def normalizations(layer):
    """The WeightNormalization of each normalized weight of one layer."""
    return [c for c in layer._computed.values() if isinstance(c, WeightNormalization)]


def apply_weight_norm(module, scale="linear"):
    """Weight-normalize every layer with weight vectors inside `module`, along its output axis. Returns `module`.

    These are Linear, Conv2d, ConvTranspose2d and LSTMCell; of an LSTMCell both matrices, whose rows are the vectors of
    one gate of one unit. A recurrent network computes w = g v/‖v‖ at each step unless it runs within
    `with module.computed_once():`. A zero vector is refused as by `WeightNorm`, with the layer's place in the model and
    before anything is changed.
    """
    found = {}  # each weight once, also of a layer that stands in the model twice
    for path, layer in module.named_modules():
        for name in weights(layer):
            if name not in layer._computed and (layer, name) not in found:
                _check_vectors(getattr(layer, name).data, output_axis(layer, name), _where(layer, name, path))
                found[layer, name] = getattr(layer, name), output_axis(layer, name), path
    _refuse_ties_along_different_axes(found)
    first = {}  # weight → the layer and name whose v and g all layers that share it get
    for (layer, name), (weight, axis, _) in found.items():
        WeightNorm(layer, name, axis, scale)
        original, its_name = first.setdefault(weight, (layer, name))
        for part in "gv":
            setattr(layer, f"{name}_{part}", getattr(original, f"{its_name}_{part}"))
    return module


def _refuse_ties_along_different_axes(found):
    axes = {}
    for (layer, name), (weight, axis, path) in found.items():
        if axes.setdefault(weight, axis) != axis:
            raise ValueError(
                f"{_where(layer, name, path)} is shared with a layer whose outputs are along axis {axes[weight]}, here "
                f"axis {axis}: normalize one of them by itself with WeightNorm(layer, axis=…), or untie them"
            )


def remove_weight_norm(module):
    """Turn every weight-normalized weight inside `module` back into an ordinary one, w = g v/‖v‖. Returns `module`.

    Layers that share v and g share the weight afterwards.
    """
    made = {}  # (v, g) → weight
    for layer in module.modules():
        for normalization in normalizations(layer):
            name = normalization.name
            v, g = getattr(layer, f"{name}_v"), getattr(layer, f"{name}_g")
            if (v, g) not in made:
                with mg.no_grad():
                    made[v, g] = _parameter(normalization(layer).data, v.requires_grad)
            layer.compute(name, None)
            delattr(layer, f"{name}_g")
            delattr(layer, f"{name}_v")
            setattr(layer, name, made[v, g])
    return module


def _parameter(array, trained):
    """A Parameter; one that is frozen, as that was from which it is made, unless `trained`."""
    made = nn.Parameter(array)
    made.requires_grad = trained
    return made


def _where(layer, name, path=""):
    # In words: Linear.weight of layer '3.0'.
    return f"{type(layer).__name__}.{name}" + (f" of layer {path!r}" if path else "")


def _check_vectors(v, axis, what):
    if v.dtype.itemsize < 4:
        raise ValueError(f"{what}: half precision is not supported, ‖v‖² would overflow; use float32")
    _refuse_zero_norms(backend.to_numpy(mg.norm(v, other_axes(v.ndim, axis))), what)


def _refuse_zero_norms(norms, what):
    if not norms.all():
        row = int(numpy.argmin(norms))
        raise ValueError(f"{what}: weight vector {row} is zero and has no direction; initialize it with random numbers")
