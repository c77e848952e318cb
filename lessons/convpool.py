"""The network of the paper's table 1 in five parameterizations, for pictures of other sizes and fewer channels.

Lesson 09 builds it line by line; its chapters take it from here. It is the ConvPool-CNN-C of Springenberg et al. 2015.
Pictures are x (N, channels, side, side), with a side of at least 12 that 4 divides.
"""

import numpy as np

import wn
from minigrad import nn

PARAMETERIZATIONS = ("normal", "batch norm", "weight norm", "WN + mean-only BN", "mean-only BN")


def weight_layers(model):
    """The layers that have weights, in order."""
    return [layer for layer in model if isinstance(layer, (nn.Conv2d, nn.Linear))]


def network(parameterization, widths, rng, channels=3, noise=0.15, dropout=0.1):
    """Table 1 for ten classes, not initialized from data and without weight normalization yet.

    Parameters
    ----------
    parameterization : str
        One of `PARAMETERIZATIONS`; it says what follows each layer.
    widths : (int, int)
        Channels of the first three layers, and of all that follow.
    rng : numpy.random.Generator
        Draws every weight from N(0, 0.05²), and later noise and dropout. Biases are 0.
    channels : int
        Of the pictures.
    noise, dropout : float
        The standard deviation of what is added to pictures; the share of numbers that are set to 0.
    """
    bias = parameterization in ("normal", "weight norm")

    def followed(layer, outputs):
        if parameterization == "batch norm":
            return [layer, nn.BatchNorm(outputs, eps=1e-6)]
        return [layer] if bias else [layer, wn.MeanOnlyBatchNorm(outputs)]

    def conv(inputs, outputs, kernel, padding=0):
        layer = nn.Conv2d(inputs, outputs, kernel, padding=padding, bias=bias)
        return [*followed(layer, outputs), nn.LeakyReLU(0.1)]

    a, b = widths
    model = nn.Sequential(
        nn.GaussianNoise(noise, rng),
        *conv(channels, a, 3, padding=1), *conv(a, a, 3, padding=1), *conv(a, a, 3, padding=1),
        nn.MaxPool2d(2), nn.Dropout(dropout, rng),
        *conv(a, b, 3, padding=1), *conv(b, b, 3, padding=1), *conv(b, b, 3, padding=1),
        nn.MaxPool2d(2), nn.Dropout(dropout, rng),
        *conv(b, b, 3), *conv(b, b, 1), *conv(b, b, 1),
        nn.GlobalAvgPool2d(), *followed(nn.Linear(b, 10, bias=bias), 10),
    )  # fmt: skip
    for layer in weight_layers(model):
        layer.weight.data = rng.normal(0, 0.05, layer.weight.shape).astype(np.float32)
        if bias:
            layer.bias.data = np.zeros(layer.bias.shape, np.float32)
    return model


def initialized(parameterization, widths, rng, pictures, **options):
    """The network at the starting point that all parameterizations share (sections 3 and 5.1).

    One with weight normalization is initialized from data (equations 5 and 6), and the normal one is made from it by
    multiplying out w = g v/‖v‖. Batch normalization needs no such pass; its weights are v. So the five are the same
    function of the pictures that they are initialized with, in training, but for their noise and for the number that
    batch normalization adds to a variance.

    Parameters
    ----------
    parameterization, widths, rng, options
        As for `network`.
    pictures : array (N, channels, side, side), float32
        They initialize the model.
    """
    model = network(parameterization, widths, rng, pictures.shape[1], **options)
    if parameterization != "batch norm":
        wn.apply_weight_norm(model)
        wn.data_dependent_init(model, pictures)
    if parameterization in ("normal", "mean-only BN"):
        wn.remove_weight_norm(model)
    return model
