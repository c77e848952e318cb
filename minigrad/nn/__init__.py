"""Layers, one idea a file. A model is a Module that holds others."""

from minigrad.nn import densities, functional
from minigrad.nn.activation import ELU, LeakyReLU, ReLU
from minigrad.nn.container import Flatten, Sequential
from minigrad.nn.convolution import Conv2d, ConvTranspose2d
from minigrad.nn.linear import Linear
from minigrad.nn.masked import MaskedConv2d, MaskedLinear, autoregressive_mask, causal_mask
from minigrad.nn.module import Buffer, Module, Parameter
from minigrad.nn.noise import Dropout, GaussianNoise
from minigrad.nn.normalization import BatchNorm, GroupNorm, LayerNorm
from minigrad.nn.pooling import AvgPool2d, GlobalAvgPool2d, MaxPool2d
from minigrad.nn.recurrent import LSTMCell

__all__ = [
    "ELU",
    "AvgPool2d",
    "BatchNorm",
    "Buffer",
    "Conv2d",
    "ConvTranspose2d",
    "Dropout",
    "Flatten",
    "GaussianNoise",
    "GlobalAvgPool2d",
    "GroupNorm",
    "LSTMCell",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "MaskedConv2d",
    "MaskedLinear",
    "MaxPool2d",
    "Module",
    "Parameter",
    "ReLU",
    "Sequential",
    "autoregressive_mask",
    "causal_mask",
    "densities",
    "functional",
]
