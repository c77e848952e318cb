"""Equi-normalization (Stock, Graham, Gribonval & Jégou, ICLR 2019): the smallest of many equivalent networks.

Multiply everything that comes into a hidden unit, weights and bias, by d > 0, and divide the weights that go out of it
by d. If the activation is positively homogeneous, φ(d t) = d φ(t) as for ReLU and leaky ReLU, the network computes the
same function as before. Of all networks that one gets in this way, equi-normalization finds the one with the smallest
Σ_k ‖W_k‖ₚᵖ, k = 1 … q counting the weights.

The law: there, each hidden unit's incoming and outgoing weights have the same norm.
"""

import numpy

from minigrad import backend, nn, optim
from wn.reparameterization import output_axis

LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
COMMUTE = (nn.ReLU, nn.LeakyReLU, nn.MaxPool2d, nn.AvgPool2d, nn.GlobalAvgPool2d, nn.Flatten, nn.Dropout)
MEMORY = {  # what an optimizer remembers, and which power of the gradient that is
    optim.SGD: {"momentum": 1},
    optim.Adam: {"m": 1, "v": 2},
    optim.Adamax: {"m": 1, "u": 1},
    optim.RMSprop: {"v": 2},
}


def equi_normalize(model, c=1.0, p=2, cycles=100, tolerance=1e-7, optimizer=None):
    """Rescale the hidden units so that Σ_k c^{p(q-k)} ‖W_k‖ₚᵖ becomes smallest and the function stays.

    A cycle goes through the weights W_k (outputs × inputs) in order. With L[i] the p-norm of what comes into unit i and
    R[i] that of what goes out,

        d = √(R/(c L)),   W_k[i, :] ← d[i] W_k[i, :],   b_k[i] ← d[i] b_k[i],   W_{k+1}[:, i] ← W_{k+1}[:, i]/d[i]

    which is the best d for this unit alone, so that no cycle increases the sum. In a fully connected network the end
    does not depend on which of the equivalent networks one starts from. A unit with no weights but zeros coming in, or
    going out, is left as it is. (The authors do not touch biases; without b ← d b the function would change.)

    Parameters
    ----------
    model : nn.Sequential
        Between two Linear, Conv2d or ConvTranspose2d there may be only what commutes with d > 0: ReLU, LeakyReLU,
        pooling, Flatten, Dropout. What comes before the first of them, or after the last, is free.
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

    Returns
    -------
    nn.Module
        `model` itself.

    Raises
    ------
    ValueError
        If rescaling would change the function; says why and what to do.
    """
    layers, blocks = _chain(model)
    memory = next((powers for kind, powers in MEMORY.items() if isinstance(optimizer, kind)), {})
    if optimizer is not None and not memory:
        raise ValueError(
            f"equi_normalize knows the memory of SGD, Adam, Adamax, RMSprop, not {type(optimizer).__name__}"
        )
    powers = [_powers(layer, block, p) for layer, block in zip(layers, blocks, strict=True)]
    scales = [numpy.ones(len(power)) for power in powers]  # the product of all d, for each unit of each layer
    for _ in range(cycles):
        farthest = 0.0
        for k in range(len(layers) - 1):
            incoming, outgoing = powers[k].sum(axis=1), powers[k + 1].sum(axis=0)  # Lᵖ and Rᵖ
            alive = (incoming > 0) & (outgoing > 0)
            ratio = numpy.divide(outgoing, c**p * incoming, where=alive, out=numpy.ones_like(incoming))
            powers[k] *= numpy.sqrt(ratio)[:, None]  # dᵖ = √(Rᵖ/(cᵖ Lᵖ))
            powers[k + 1] /= numpy.sqrt(ratio)
            d = ratio ** (1 / (2 * p))
            scales[k] *= d
            farthest = max(farthest, numpy.abs(d - 1).max(initial=0.0))
        if farthest <= tolerance:
            break
    before = numpy.ones(1)
    for layer, block, scale in zip(layers, blocks, scales, strict=True):
        factor = scale[:, None] / numpy.repeat(before, block)  # (outputs, inputs), or (outputs, 1) for the first
        factor = factor if output_axis(layer) == 0 else factor.T
        _multiply(layer.weight, factor.reshape(factor.shape + (1,) * (layer.weight.ndim - 2)), optimizer, memory)
        if layer.bias is not None:
            _multiply(layer.bias, scale, optimizer, memory)
        before = scale
    return model


def _powers(layer, block, p):
    """‖·‖ₚᵖ of what each unit gets from each unit of the layer before, (outputs, units before), on the host."""
    w = abs(backend.to_numpy(layer.weight.data).astype(numpy.float64)) ** p
    w = w.sum(axis=tuple(range(2, w.ndim)))
    w = w if output_axis(layer) == 0 else w.T
    return w.reshape(len(w), -1, block).sum(axis=2)


def _multiply(parameter, factor, optimizer, memory):
    """Multiply a parameter, and divide what the optimizer remembers of its gradient."""

    def times(array, factor):
        return array * backend.to_device(factor.astype(array.dtype), parameter.device)

    parameter.data = times(parameter.data, factor)
    for other, state in zip(optimizer.params, optimizer.state, strict=True) if optimizer else ():
        if other is parameter:
            for name in state.keys() & memory.keys():
                state[name] = times(state[name], factor ** -memory[name])


def _chain(model):
    """The layers with weights, in order, and for each the number of its inputs that come from one unit before it."""
    if not isinstance(model, nn.Sequential):
        raise ValueError(f"equi_normalize takes an nn.Sequential, whose order it knows, not {type(model).__name__}")
    layers, blocks, between = [], [], []
    for path, layer in _steps(model):
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
    return layers, blocks


def _block(before, between, path, layer):
    """How many inputs of `layer` come from one unit of the layer `before` it."""
    for where, other in between:
        if not isinstance(other, COMMUTE):
            raise ValueError(
                f"equi_normalize: {type(other).__name__} at {where!r} does not commute with a factor, so the function "
                "would change. Between two layers with weights there may be ReLU, LeakyReLU, pooling, Flatten and "
                "Dropout; fold a batch normalization into the weights before it, or take the other out"
            )
    units, inputs = before.weight.shape[output_axis(before)], layer.weight.shape[1 - output_axis(layer)]
    block, rest = divmod(inputs, units)
    mixed = before.weight.ndim == 4 and any(isinstance(other, (nn.Flatten, nn.GlobalAvgPool2d)) for _, other in between)
    fits = (block == 1 and before.weight.ndim == layer.weight.ndim) or (mixed and layer.weight.ndim == 2)
    if rest or not fits:
        raise ValueError(f"equi_normalize: the {inputs} inputs of layer {path!r} are not the {units} units before it")
    return block


def _steps(model, prefix=""):
    """(path, layer) in the order in which the layers run."""
    for name, layer in model.children():
        path = f"{prefix}{name}"
        yield from _steps(layer, f"{path}.") if isinstance(layer, nn.Sequential) else [(path, layer)]
