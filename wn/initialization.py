"""Equations 5 and 6: data-dependent initialization.

One batch goes through the model, front to back. At each layer the pre-activation t = v·x/‖v‖ of every unit gets mean 0
and variance 1 over that batch, by g ← 1/σ[t] and b ← -μ[t]/σ[t], before the next layer sees it.
"""

import minigrad as mg
from minigrad import backend, nn
from wn.reparameterization import normalizations, output_axis


def data_dependent_init(model, x):
    """Set g and b of every layer so that its pre-activations have mean 0 and variance 1 on `x` (equations 5 and 6).

    The model is run once, as it is: noise and dropout act if it is in training mode. Every Linear, Conv2d and
    ConvTranspose2d that runs is initialized, weight-normalized or not. Where there is a bias b, both are corrected as

        g ← g/σ[t],   b ← (b - μ[t])/σ[t]        (t the layer's output, b included)

    which for g = 1 and b = 0 is equation 6, and which leaves a model alone that is initialized already. An ordinary
    weight is treated as g v/‖v‖ and divided by σ. A layer without bias keeps its mean, for a batch normalization
    that follows to take away. A layer that runs more than once is initialized by its first run.

    Parameters
    ----------
    model : nn.Module
    x : array or Tensor
        A batch, in the shape that the model takes; more than one example.

    Returns
    -------
    nn.Module
        `model` itself.

    Raises
    ------
    ValueError
        If a unit's pre-activation is the same for the whole batch, which leaves no scale to set; names the layer.
    """
    done, removals = set(), []
    for name, layer in model.named_modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):

            def hook(layer, inputs, t, name=name):
                if layer not in done:
                    done.add(layer)
                    return _initialize(layer, t, name)

            removals.append(layer.register_forward_hook(hook))
    try:
        with mg.no_grad():
            model(x if isinstance(x, mg.Tensor) else mg.tensor(x))
    finally:
        for remove in removals:
            remove()
    return model


def _initialize(layer, t, name):
    """Equations 5 and 6 for one layer: set its parameters, return its output as it is with them."""
    data = t.data
    xp = backend.array_module(data)
    channel = 1 if data.ndim == 4 else data.ndim - 1
    axes = tuple(i for i in range(data.ndim) if i != channel)
    shape = tuple(-1 if i == channel else 1 for i in range(data.ndim))
    # Means and deviations of up to millions of numbers: summed in float64.
    mean = data.mean(axis=axes, dtype=xp.float64)
    deviation = data.std(axis=axes, dtype=xp.float64)
    if not (deviation > 0).all():
        unit = int((deviation > 0).argmin())
        raise ValueError(
            f"data_dependent_init: unit {unit} of layer {name or type(layer).__name__!r} has the same pre-activation "
            "for the whole batch; use more than one example, and inputs that vary"
        )
    found = normalizations(layer)
    for normalization in found:
        if normalization.name != "weight" or normalization.axis % layer.weight.ndim != output_axis(layer):
            raise ValueError(
                f"data_dependent_init: {normalization} of layer {name or type(layer).__name__!r} does not have one "
                f"length for each output: that is axis {output_axis(layer)} of its weight"
            )
        normalization.multiply_length(layer, 1 / deviation)
    if not found:
        axis = output_axis(layer)
        columns = tuple(-1 if i == axis else 1 for i in range(layer.weight.ndim))
        layer.weight.data = (layer.weight.data / deviation.reshape(columns)).astype(layer.weight.dtype)
    if layer.bias is None:
        return mg.Tensor((data / deviation.reshape(shape)).astype(data.dtype))
    layer.bias.data = ((layer.bias.data - mean) / deviation).astype(layer.bias.dtype)
    return mg.Tensor(((data - mean.reshape(shape)) / deviation.reshape(shape)).astype(data.dtype))
