"""Equi-normalization (Stock, Graham, Gribonval & Jégou, ICLR 2019): the smallest of many equivalent networks.

Multiply everything that comes into a hidden unit, weights and bias, by d > 0, and divide the weights that go out of it
by d. If the activation is positively homogeneous, φ(d t) = d φ(t) as for ReLU and leaky ReLU, the network computes the
same function as before. Of all networks that one gets in this way, equi-normalization finds the one with the smallest
Σ_k ‖W_k‖ₚᵖ, k = 1 … q counting the weights.

The law: there, each hidden unit's incoming and outgoing weights have the same norm.

Where networks have shortcuts, units whose outputs are added must have the same d: they count as one unit, into which
several weights lead. Which these are is read off the tape: see `scales.py`.
"""

import math
import operator
from typing import Any

import numpy

import minigrad as mg
from minigrad import backend, nn, optim
from wn.reparameterization import output_axis
from wn.scales import FIXED, Scales, Weight, as_in_training, read_scales

LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
COMMUTE = (nn.ReLU, nn.LeakyReLU, nn.MaxPool2d, nn.AvgPool2d, nn.GlobalAvgPool2d, nn.Flatten, nn.Dropout)
MEMORY = {  # what an optimizer remembers, and which power of the gradient that is
    optim.SGD: {"momentum": 1},
    optim.Adam: {"m": 1, "v": 2},
    optim.Adamax: {"m": 1, "u": 1},
    optim.RMSprop: {"m": 1, "v": 2},
}


def equi_normalize(model, c=1.0, p=2, cycles=100, tolerance=1e-7, optimizer=None, example=None):
    """Rescale the hidden units so that Σ_k c^{p(q-k)} ‖W_k‖ₚᵖ becomes smallest and the function stays.

    A cycle goes through the hidden units, front to back. With L the p-norm of all weights that lead into a unit and R
    that of all that lead out of it,

        d = √(R/(c L)),   W_k[i, :] ← d[i] W_k[i, :],   b_k[i] ← d[i] b_k[i],   W_{k+1}[:, i] ← W_{k+1}[:, i]/d[i]

    (weights as outputs × inputs), which is the best d for this unit alone, so that no cycle increases the sum. Where
    weights other than 0 connect every unit with the input or the output, as in fully connected networks, the end does
    not depend on which of the equivalent networks one starts from. A unit with no weights but zeros coming in, or going
    out, is left as it is. (The authors do not touch biases; without b ← d b the function would change.)

    To make one cycle after each step of training, use `EquiNormalizer`, which looks at the model once.

    Parameters
    ----------
    model : nn.Module
        Without an example an nn.Sequential: between two Linear, Conv2d or ConvTranspose2d there may be only what
        commutes with d > 0: ReLU, LeakyReLU, pooling, Flatten, Dropout. What comes before the first of them, or after
        the last, is free. With an example any module: see `EquiNormalizer`.
    c : float
        1 for equal norms; with more, the early weights become smaller (the authors use 1.1 and 1.2).
    p : float
        Which norm.
    cycles : int
        At most so many. The authors make one after each step of SGD.
    tolerance : float
        Stop when every d of a cycle is this close to 1.
    optimizer : Optimizer, optional
        SGD, Adam(W), Adamax or RMSprop: what it remembers of gradients changes as they do, by 1/d where weights change
        by d. That its weight decay is mixed with them is neglected.
    example : array_like or Tensor, optional
        Some input of the model, as for `EquiNormalizer`.

    Returns
    -------
    nn.Module
        `model` itself.

    Raises
    ------
    ValueError
        If rescaling would change the function; says why and what to do.
    """
    EquiNormalizer(model, example, c, p, optimizer)(cycles, tolerance)
    return model


class EquiNormalizer:
    """Equi-normalization of one model, prepared once: `balance = EquiNormalizer(model, x)`, then `balance()` each step.

    With an example, the model may be any graph of layers. It is run on the example, in training, and its tape says
    which units have to be rescaled together. Two tensors that are added have the same scales: with an identity shortcut
    all layers that write into the sums along it are tied; a shortcut with a weight of its own frees the layers before
    it. The network's input and output keep their scale.

    Between weights, these pass scales on: relu, leaky_relu, abs, pooling, sums and means, maximum and minimum of hidden
    units, reshaping, indexing, concatenation, padding with zeros, multiplication by constants (dropout). Everything
    else, other normalizations among it, is refused.

    Batch normalization in training absorbs the scale of the layer before it: there is nothing to balance, and that
    layer's rows keep their length. γ counts as a weight that leads into the unit, and γ and β are rescaled to make up
    for what comes after; so the function stays in evaluation, too.

    Last, all units are rescaled by powers of 2, which rounds nothing, and the model run again: if its output is not the
    same, the rescaling is refused. Afterwards the model, its buffers and its generators are what they were.

    Parameters
    ----------
    model : nn.Module
    example : array_like or Tensor, optional
        Some input of the model: two pictures are enough. Without, the model must be an nn.Sequential of the layers that
        `equi_normalize` names.
    c, p, optimizer
        As for `equi_normalize`. In a graph, k is the largest number of weights on a way from the input to W_k,
        W_k included.

    Raises
    ------
    ValueError
        If rescaling would change the function; names the op and the layer and says what to do. When called: if
        parameters of the model have been replaced by others since.
    """

    def __init__(
        self,
        model: nn.Module,
        example: Any = None,
        c: float = 1.0,
        p: float = 2,
        optimizer: optim.Optimizer | None = None,
    ):
        self.model, self.p, self.optimizer = model, p, optimizer
        self._memory = next((powers for kind, powers in MEMORY.items() if isinstance(optimizer, kind)), {})
        if optimizer is not None and not self._memory:
            raise ValueError(
                f"equi_normalize knows the memory of SGD, Adam, Adamax, RMSprop, not {type(optimizer).__name__}"
            )
        self._places = {id(other): place for place, other in enumerate(optimizer.params)} if optimizer else {}
        self._weights, self._values, self._units = _chain(model) if example is None else read_scales(model, example)
        deepest = max((weight.depth for weight in self._weights), default=0)
        self._coefficients = [c ** (p * (deepest - weight.depth)) for weight in self._weights]
        self._steps = _steps(self._weights)
        if example is not None:
            self._verify(example)

    def __call__(self, cycles: int = 1, tolerance: float = 0.0) -> float:
        """Make at most so many cycles, until every d is within `tolerance` of 1; returns the largest |d - 1|."""
        self._check()
        powers, scales, farthest = self._powers(), numpy.ones(self._units), 0.0
        for _ in range(cycles):
            farthest = 0.0
            for units, members in self._steps:
                incoming, outgoing = self._sums(powers, units, members)
                ratio = numpy.ones(self._units)  # dᵖ = √(Rᵖ/(cᵖ Lᵖ))
                alive = units[(incoming[units] > 0) & (outgoing[units] > 0)]
                ratio[alive] = numpy.sqrt(outgoing[alive] / incoming[alive])
                for k in members:
                    powers[k] *= ratio[self._weights[k].outputs][:, None]
                    powers[k] /= ratio[self._weights[k].inputs]
                d = ratio ** (1 / self.p)
                scales *= d
                farthest = max(farthest, numpy.abs(d - 1).max(initial=0.0))
            if farthest <= tolerance:
                break
        self._rescale(scales)
        return float(farthest)

    def total(self) -> float:
        """What is made smallest: Σ_k c^{p(q-k)} ‖W_k‖ₚᵖ, over the weights that the example reaches."""
        return float(sum(power.sum() for power in self._powers()))

    def norms(self) -> tuple[numpy.ndarray, numpy.ndarray]:
        """The norms of what comes into each hidden unit and of what goes out, W_k times c^{q-k}: at the end the same.

        A tied group counts as one unit, and a weight from a unit to itself counts on neither side.
        """
        powers, incoming, outgoing = self._powers(), [], []
        for units, members in self._steps:
            for side, power in zip((incoming, outgoing), self._sums(powers, units, members), strict=True):
                side.extend(power[units] ** (1 / self.p))
        return numpy.array(incoming), numpy.array(outgoing)

    def _powers(self):
        """c^{p(q-k)} |W_k|ᵖ, added up over the kernel: (outputs, inputs) for each weight, in float64 on the host."""
        found = []
        for weight, coefficient in zip(self._weights, self._coefficients, strict=True):
            w = weight.parameter._data.astype(numpy.float64)
            w = w * w if self.p == 2 else abs(w) ** self.p
            shape = (w.size, 1) if weight.axis is None else w.shape
            kernel = backend.array_module(w).ones(math.prod(shape[2:]))
            w = w.reshape((math.prod(shape[:2]), len(kernel))) @ kernel  # a product is the fastest sum
            w = backend.to_numpy(w).reshape(shape[:2]) * coefficient
            found.append(w.T if weight.axis == 1 else w)
        return found

    def _sums(self, powers, units, members):
        """Lᵖ and Rᵖ of all units; right for those in `units`, which are rescaled together, or alone."""
        incoming, outgoing = numpy.zeros(self._units), numpy.zeros(self._units)
        for k in members:
            weight, power = self._weights[k], powers[k]
            if len(units) == 1:  # what leads from a unit to itself stays as it is
                own = (weight.outputs == units)[:, None] & (weight.inputs == units)
                power = numpy.where(own, 0, power) if own.any() else power
            incoming += numpy.bincount(weight.outputs, power.sum(axis=1), self._units)
            outgoing += numpy.bincount(weight.inputs, power.sum(axis=0), self._units)
        return incoming, outgoing

    def _rescale(self, scales):
        """Multiply everything that comes into each unit by its number, and divide what goes out."""
        for weight in self._weights:
            factor = scales[weight.outputs][:, None] / scales[weight.inputs]
            factor = factor.T if weight.axis == 1 else factor
            shape = weight.parameter.shape
            self._multiply(weight.parameter, factor.reshape(shape[:2] + (1,) * (len(shape) - 2)))
        for parameter, units in self._values:
            self._multiply(parameter, scales[units])

    def _multiply(self, parameter, factor):
        """Multiply a parameter, and divide what the optimizer remembers of its gradient."""
        if (factor == 1).all():
            return

        def times(array, factor):
            return array * backend.to_device(factor.astype(array.dtype), parameter.device)

        parameter.replace(times(parameter._data, factor))
        if id(parameter) in self._places:
            state = self.optimizer.state[self._places[id(parameter)]]
            for name in state.keys() & self._memory.keys():
                state[name] = times(state[name], factor ** -self._memory[name])

    def _check(self):
        here = set(map(id, self.model.parameters()))
        if not all(id(p) in here for p in [*(w.parameter for w in self._weights), *(p for p, _ in self._values)]):
            raise ValueError("EquiNormalizer: the model has other parameters than it had; make a new EquiNormalizer")

    def _verify(self, example):
        """ValueError unless rescaling every unit by some power of 2 leaves the model's output on `example` alone."""
        scales = 2.0 ** numpy.random.default_rng(0).integers(-2, 3, self._units)
        scales[FIXED] = 1
        parameters = [(p, p._data) for p in self.model.parameters()]
        memory, self._places = self._places, {}
        outputs = []
        try:
            for factors in (numpy.ones(self._units), scales):
                self._rescale(factors)
                with as_in_training(self.model):
                    outputs.append(self.model(mg.tensor(example)).numpy())
        finally:
            for parameter, data in parameters:
                parameter.replace(data)
            self._places = memory
        before, after = outputs
        # Where sums are added up in another order, as on a GPU, the last bits may differ.
        bound = 1000 * numpy.finfo(before.dtype).eps * abs(before[numpy.isfinite(before)]).max(initial=0)
        if not numpy.allclose(after, before, rtol=0, atol=bound, equal_nan=True):
            raise ValueError(
                "equi_normalize: the function of this model changes with the scales of its hidden units in a way that "
                "its tape does not show, as by detach() or by a comparison; normalize its parts by themselves"
            )


def _steps(weights):
    """Which units are rescaled at once: (units, the places of the weights that lead into them or out of them).

    These are the units of a layer, and of all layers that share a unit with it; but one by one where a weight leads
    from some of them to others. (For a single matrix this is the balancing of Osborne 1960.)
    """
    groups = []  # in the order in which they begin, disjoint
    for weight in weights:
        units = set(weight.outputs.tolist()) - {FIXED}
        first = None
        for group in [group for group in groups if group & units]:
            if first is None:
                first = group
            else:
                first |= group
                groups.remove(group)
        if first is None and units:
            groups.append(units)
        elif units:
            first |= units
    found = []
    for group in groups:
        units = numpy.array(sorted(group))
        into = [bool(numpy.isin(weight.outputs, units).any()) for weight in weights]
        out_of = [bool(numpy.isin(weight.inputs, units).any()) for weight in weights]
        members = [k for k in range(len(weights)) if into[k] or out_of[k]]
        alone = any(map(operator.and_, into, out_of))
        found += [(unit[None], members) for unit in units] if alone else [(units, members)]
    return found


def _chain(model):
    """The Scales of layers that run one after the other, for which no example is needed."""
    if not isinstance(model, nn.Sequential):
        raise ValueError(
            "equi_normalize takes an nn.Sequential, whose order it knows, or any model with an example of its input: "
            f"equi_normalize(model, example=x); here is none, and a {type(model).__name__}"
        )
    layers, blocks, between = [], [], []
    for path, layer in _in_order(model):
        if not isinstance(layer, LAYERS):
            between.append((path, layer))
            continue
        if layer._computed:
            raise ValueError(
                f"equi_normalize: the weight of layer {path!r} is computed; call wn.remove_weight_norm first"
            )
        if any(p is q for done in layers for p in done.parameters() for q in layer.parameters()):
            raise ValueError(f"equi_normalize: layer {path!r} shares its weights with an earlier one; copy them")
        blocks.append(_block(layers[-1], between, path, layer) if layers else 1)
        layers.append(layer)
        between = []
    weights, values, count, before = [], [], 1, None
    for depth, (layer, block) in enumerate(zip(layers, blocks, strict=True), start=1):
        axis = output_axis(layer)
        units, inputs = layer.weight.shape[axis], layer.weight.shape[1 - axis]
        last = depth == len(layers)
        outputs = numpy.full(units, FIXED) if last else numpy.arange(count, count + units)
        inputs = numpy.full(inputs, FIXED) if before is None else numpy.repeat(before, block)
        weights.append(Weight(layer.weight, outputs, inputs, axis, depth))
        if layer.bias is not None:
            values.append((layer.bias, outputs))
        count, before = count + (0 if last else units), outputs
    return Scales(weights, values, count)


def _block(before, between, path, layer):
    """How many inputs of `layer` come from one unit of the layer `before` it."""
    for where, other in between:
        if not isinstance(other, COMMUTE):
            raise ValueError(
                f"equi_normalize: {type(other).__name__} at {where!r} does not commute with a factor, so the function "
                "would change. Between two layers with weights there may be ReLU, LeakyReLU, pooling, Flatten and "
                "Dropout, and with an example, equi_normalize(model, example=x), batch normalization; or fold that "
                "into the weights before it, or take the other out"
            )
    units, inputs = before.weight.shape[output_axis(before)], layer.weight.shape[1 - output_axis(layer)]
    block, rest = divmod(inputs, units)
    mixed = before.weight.ndim == 4 and any(isinstance(other, (nn.Flatten, nn.GlobalAvgPool2d)) for _, other in between)
    fits = (block == 1 and before.weight.ndim == layer.weight.ndim) or (mixed and layer.weight.ndim == 2)
    if rest or not fits:
        raise ValueError(f"equi_normalize: the {inputs} inputs of layer {path!r} are not the {units} units before it")
    return block


def _in_order(model, prefix=""):
    """(path, layer) in the order in which the layers run."""
    for name, layer in model.children():
        path = f"{prefix}{name}"
        yield from _in_order(layer, f"{path}.") if isinstance(layer, nn.Sequential) else [(path, layer)]
