"""Equations 5 and 6: data-dependent initialization.

One batch goes through the model, front to back. At each layer the pre-activation t = v·x/‖v‖ of every unit gets mean 0
and variance 1 over that batch, by g ← 1/σ[t] and b ← -μ[t]/σ[t], before the next layer sees it.
"""

import numpy

import minigrad as mg
from minigrad import backend, nn
from wn.gradients import counting_axes
from wn.reparameterization import WeightNormalization, output_axis


def data_dependent_init(model, x, workers=None):
    """Set g and b of every layer so that its pre-activations have mean 0 and variance 1 on `x` (equations 5 and 6).

    The model is run once on `x`, and every Linear, Conv2d and ConvTranspose2d that runs is initialized as it does,
    weight-normalized or not, however the model connects them. Where there is a bias b, both are corrected as

        g ← g/σ[t],   b ← (b - μ[t])/σ[t]        (t the layer's output, b included)

    which for g = 1 and b = 0 is equation 6, and which leaves a model alone that is initialized already. Directions are
    kept. An ordinary weight is treated as g v/‖v‖ and divided by σ. A layer without bias keeps its mean, for a batch
    normalization that follows to take away. A layer, or a weight, that is used more than once is initialized at its
    first use. An LSTMCell is left alone: section 3 resorts to standard initialization for recurrent models.

    The model is run as it is: in training mode noise and dropout act, drawing from their generators, and batch
    normalization uses the batch. Afterwards all buffers, such as running averages, are what they were.

    Parameters
    ----------
    model : nn.Module
    x : array_like or Tensor
        A batch, in the shape and on the device that the model takes; for a Linear more than one example.
    workers : minigrad.workers.Workers, optional
        Several machines: mean and variance are those of all workers' x together, of which each may have a different
        number of examples. All have to begin with equal parameters.

    Returns
    -------
    nn.Module
        `model` itself.

    Raises
    ------
    ValueError
        If a unit's pre-activation is the same for the whole batch, up to rounding, which leaves no scale to set; if it
        is not finite; if a weight vector is zero; or if a weight is computed from other parameters in a way that has
        no length for each output. Names the layer. The model is then as it was.
    """
    done, removals, workers = set(), [], workers or mg.workers.Alone()
    for name, layer in model.named_modules():
        layer.check_state({n: p.data for n, p in vars(layer).items() if isinstance(p, nn.Parameter)}, name)
        if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):

            def hook(layer, inputs, t, name=name):
                own = vars(layer)
                weight = own.get("weight_v", own.get("weight"))
                if weight not in done:
                    done.add(weight)
                    return _initialize(layer, t, workers, f"layer {name or type(layer).__name__!r}")

            removals.append(layer.register_forward_hook(hook))
    parameters = [(p, p.data) for p in model.parameters()]
    buffers = [(b, b.data.copy()) for b in model.buffers()]
    try:
        with mg.no_grad():
            model(x if isinstance(x, mg.Tensor) else mg.tensor(x))
    except BaseException:
        _restore(parameters)
        raise
    finally:
        _restore(buffers)
        for remove in removals:
            remove()
    return model


def _restore(saved):
    for tensor, data in saved:
        tensor.data = data


def _initialize(layer, t, workers, where):
    """Equations 5 and 6 for one layer: set its parameters, return its output as it is with them."""
    data = t.data
    xp = backend.array_module(data)
    channel = data.ndim - 1 if isinstance(layer, nn.Linear) else 1
    axes = tuple(i for i in range(data.ndim) if i != channel)
    # Relative to one value of each unit: nothing is lost where the mean is large, and equal values give exactly 0.
    # Up to millions of numbers are added up in float64.
    first = data[tuple(slice(None) if i == channel else slice(1) for i in range(data.ndim))]
    first = workers.sum(first if workers.rank == 0 else xp.zeros_like(first))
    centered = data - first
    count = xp.full(1, data.size // data.shape[channel], xp.float64)
    sums = workers.sum(xp.concatenate([centered.sum(axis=axes, dtype=xp.float64), count]))
    count = float(sums[-1])
    offset = (sums[:-1] / count).reshape(first.shape)
    centered -= offset.astype(data.dtype)
    mean = first + offset
    deviation = xp.sqrt(workers.sum(xp.square(centered, dtype=xp.float64).sum(axis=axes, keepdims=True)) / count)
    _refuse_bad_statistics(mean, deviation, data.dtype, where)

    normalization = _normalization(layer, where)
    if normalization:
        normalization.multiply_length(layer, 1 / deviation)
    else:
        columns = tuple(-1 if i == output_axis(layer) else 1 for i in range(layer.weight.ndim))
        layer.weight.data = (layer.weight.data / deviation.reshape(columns)).astype(layer.weight.dtype)
    scale = deviation.astype(data.dtype)
    if layer.bias is None:
        return mg.Tensor(data / scale)
    layer.bias.data = ((layer.bias.data - mean.ravel()) / deviation.ravel()).astype(layer.bias.dtype)
    return mg.Tensor(centered / scale)


def _refuse_bad_statistics(mean, deviation, dtype, where):
    mean, deviation = backend.to_numpy(mean).ravel(), backend.to_numpy(deviation).ravel()
    bad = ~numpy.isfinite(deviation)
    if bad.any():
        raise ValueError(f"data_dependent_init: unit {bad.argmax()} of {where} has pre-activations that are not finite")
    # Equal inputs may lead to outputs that differ in the last bits, since BLAS adds up in more than one order.
    bad = deviation <= 10 * numpy.finfo(dtype).eps * numpy.abs(mean)
    if bad.any():
        raise ValueError(
            f"data_dependent_init: unit {bad.argmax()} of {where} has the same pre-activation for the whole batch; use "
            "more than one example, and inputs that vary"
        )


def _normalization(layer, where):
    """The layer's WeightNormalization, or None if its weight is an ordinary parameter."""
    for name, computed in layer._computed.items():
        axis = counting_axes(layer.weight.ndim, computed.axis) if isinstance(computed, WeightNormalization) else None
        if name != "weight" or axis != (output_axis(layer),):
            raise ValueError(
                f"data_dependent_init: {name} of {where} is computed by {computed}, which does not have one length for "
                f"each output: that would be weight normalization of weight along axis {output_axis(layer)}"
            )
    return layer._computed.get("weight")
