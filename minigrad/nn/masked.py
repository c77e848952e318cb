"""MaskedLinear and MaskedConv2d: layers with weights that are 0 and stay 0, so that an output sees only some inputs.

In an autoregressive model output i may depend on the inputs before i only. `autoregressive_mask` and `causal_mask` say
which weights that leaves.

A masked weight is 0 at the start and has no gradient; a step of any optimizer here leaves it at 0. So weight
normalization needs to know nothing of masks: where v is 0, w = g v/‖v‖ is, and ‖v‖ is the length of what is left.
"""

import numpy

from minigrad.nn import functional
from minigrad.nn.convolution import Conv2d
from minigrad.nn.linear import Linear
from minigrad.nn.module import Buffer
from minigrad.ops.convolution import pair


class MaskedLinear(Linear):
    """y = x (W ∘ mask)ᵀ + b, for x of shape (…, in_features).

    Parameters
    ----------
    mask : (out_features, in_features) array of 0 and 1
        1 where a weight is used. ValueError if a row is all 0: that output would not depend on anything, and weight
        normalization could not give its weight vector a direction. Let such an output see something else, a context.
    bias, rng
        As for `Linear`.
    """

    def __init__(self, mask, bias=True, rng=None):
        mask = _checked(mask, 2, type(self).__name__)
        super().__init__(mask.shape[1], mask.shape[0], bias, rng)
        _hide(self, mask)

    def forward(self, x):
        if x.shape[-1] != self.in_features:
            raise ValueError(f"MaskedLinear: x has {x.shape[-1]} features, expected {self.in_features}")
        return functional.linear(x, self.weight * self.mask, self.bias)


class MaskedConv2d(Conv2d):
    """A convolution with the kernel weight ∘ mask.

    Parameters
    ----------
    mask : (out_channels, in_channels, kh, kw) array of 0 and 1
        1 where a weight is used. ValueError if an output channel's part is all 0.
    stride, padding, bias, rng
        As for `Conv2d`.
    """

    def __init__(self, mask, stride=1, padding=0, bias=True, rng=None):
        mask = _checked(mask, 4, type(self).__name__)
        super().__init__(mask.shape[1], mask.shape[0], mask.shape[2:], stride, padding, bias, rng)
        _hide(self, mask)

    def forward(self, x):
        return functional.conv2d(x, self.weight * self.mask, self.bias, self.stride, self.padding)


def autoregressive_mask(outputs, inputs, strict, variables=None):
    """Which weights a dense layer may have, (outputs, inputs), if output i is to see no variable after i.

    Outputs and inputs stand for the variables in their order, in equal shares: the first of `inputs` numbers for
    variable 0, and so on (Germain et al. 2015).

    Parameters
    ----------
    strict : bool
        Whether a variable's outputs may see the variable itself (False), or only those before it (True).
    variables : int, optional
        How many there are; by default as many as the smaller of the two.
    """
    variables = min(outputs, inputs) if variables is None else variables
    seen, by = (numpy.arange(count) * variables // count for count in (inputs, outputs))
    allowed = by[:, None] > seen if strict else by[:, None] >= seen
    return allowed.astype(numpy.float32)


def causal_mask(out_channels, in_channels, kernel_size, strict):
    """Which weights a convolution may have if every place is to see only what comes before it, row by row.

    Of the places before it, an output sees all channels, of its own place those that `autoregressive_mask` leaves. The
    kernel has odd sides, and a padding of half of them keeps pictures as large as they are.

    Returns
    -------
    array (out_channels, in_channels, kh, kw) of 0 and 1
    """
    height, width = pair(kernel_size, "kernel_size")
    if height % 2 == 0 or width % 2 == 0:
        raise ValueError(f"causal_mask: a kernel of {height} × {width} has no middle; take odd sides")
    mask = numpy.zeros((out_channels, in_channels, height, width), numpy.float32)
    mask[:, :, : height // 2] = 1
    mask[:, :, height // 2, : width // 2] = 1
    mask[:, :, height // 2, width // 2] = autoregressive_mask(out_channels, in_channels, strict)
    return mask


def _checked(mask, ndim, who):
    mask = numpy.asarray(mask, numpy.float32)
    if mask.ndim != ndim or not numpy.isin(mask, (0, 1)).all():
        raise ValueError(f"{who}: the mask must have {ndim} axes and hold 0 and 1 only; it has shape {mask.shape}")
    empty = ~mask.reshape(len(mask), -1).any(axis=1)
    if empty.any():
        raise ValueError(
            f"{who}: the mask leaves output {empty.argmax()} without a weight, and so without a direction; "
            "let it see something else, such as a context"
        )
    return mask


def _hide(layer, mask):
    layer.mask = Buffer(mask)
    layer.weight.data = layer.weight.data * mask
