"""Weights to and from PyTorch, by name.

    here                        torch.nn.utils.parametrizations.weight_norm     torch.nn.utils.weight_norm (the old one)
    conv.weight_g               conv.parametrizations.weight.original0          conv.weight_g
    conv.weight_v               conv.parametrizations.weight.original1          conv.weight_v
    cell.weight_ih_g            cell.parametrizations.weight_ih.original0       cell.weight_ih_g

Everything else has the same name, shape and order on both sides, the gates of an LSTMCell and its two biases included.
PyTorch's norm runs over all axes but `dim`, which is 0 unless one says otherwise. So a ConvTranspose2d, whose outputs
are counted by axis 1, has to be wrapped there with `dim=1`, and an LSTMCell once for "weight_ih" and once for
"weight_hh".
"""

import re

import numpy

from wn.reparameterization import normalizations

_PARTS = {"g": "original0", "v": "original1"}


def to_torch_state_dict(model):
    """The state dict of `model` under the names of PyTorch's weight-norm parametrization.

    PyTorch has no log-scale: where a layer has s with g = e^s, g is given. On the other side:

        theirs.load_state_dict({name: torch.from_numpy(array) for name, array in wn.to_torch_state_dict(ours).items()})

    Parameters
    ----------
    model : nn.Module

    Returns
    -------
    dict from str to numpy.ndarray
        Copies.
    """
    state, renamed = model.state_dict(), {}
    scales = _normalized(model)
    for name, array in state.items():
        path, part = name[:-2], name[-1]
        if path in scales:
            owner, _, weight = path.rpartition(".")
            if part == "g" and scales[path].scale == "exp":
                array = numpy.exp(array)
            name = f"{owner}.parametrizations.{weight}.{_PARTS[part]}".lstrip(".")
        renamed[name] = array
    return renamed


def load_torch_state_dict(model, state):
    """Take over a state dict of the same model in PyTorch, weight-normalized by either of its two functions.

    Parameters
    ----------
    model : nn.Module
        Normalized in the same places.
    state : dict from str to array or CPU torch.Tensor
        `theirs.state_dict()`. The counters `num_batches_tracked` of its batch normalization are left out.

    Returns
    -------
    nn.Module
        `model` itself.

    Raises
    ------
    KeyError, ValueError
        As `model.load_state_dict`, and ValueError if a layer has the log-scale and some g is not positive. Nothing has
        been changed then.
    """
    parts, renamed = {there: here for here, there in _PARTS.items()}, {}
    for name, array in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        match = re.fullmatch(r"(|.*\.)parametrizations\.(\w+)\.(original[01])", name)
        name = f"{match[1]}{match[2]}_{parts[match[3]]}" if match else name
        renamed[name] = array.numpy() if hasattr(array, "numpy") else numpy.asarray(array)
    for path, normalization in _normalized(model).items():
        g = renamed.get(f"{path}_g")
        if g is not None and normalization.scale == "exp":
            if not (g > 0).all():
                raise ValueError(f"{path}_g: g = e^s cannot be {g.min()}; normalize that layer with scale='linear'")
            renamed[f"{path}_g"] = numpy.log(g)
    model.load_state_dict(renamed)
    return model


def _normalized(model):
    """{"path.weight": its WeightNormalization} for every normalized weight."""
    return {
        f"{path}.{kind.name}".lstrip("."): kind
        for path, layer in model.named_modules()
        for kind in normalizations(layer)
    }
