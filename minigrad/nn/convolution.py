"""Conv2d and ConvTranspose2d: the same small weighted sum at every place of an image."""

from typing import Any

import numpy

from minigrad.nn import functional
from minigrad.nn.linear import uniform
from minigrad.nn.module import Module, Parameter
from minigrad.ops.convolution import pair


class Conv2d(Module):
    """Two-dimensional convolution of images (N, C, H, W), with zero padding. Its weight is (out, in, kh, kw).

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, padding : int or (int, int)
    bias : bool
    rng : numpy.random.Generator, optional
        Draws weight and bias, uniform in ±1/√(in·kh·kw).
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, bias=True, rng=None):
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = pair(kernel_size, "kernel_size")
        self.stride, self.padding = pair(stride, "stride"), pair(padding, "padding")
        fan_in = in_channels * self.kernel_size[0] * self.kernel_size[1]
        rng = rng or numpy.random.default_rng()
        self.weight = Parameter(uniform((out_channels, in_channels, *self.kernel_size), fan_in, rng))
        self.bias: Any = Parameter(uniform(out_channels, fan_in, rng)) if bias else None

    def forward(self, x):
        return functional.conv2d(x, self.weight, self.bias, self.stride, self.padding)

    def extra_repr(self):
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}" + ("" if self.bias is not None else ", bias=False")
        )


class ConvTranspose2d(Module):
    """The transpose of a convolution: enlarges images by its stride. Its weight is (in, out, kh, kw).

    Parameters are those of `Conv2d`, and `output_padding`: rows and columns to add, since several sizes of image
    lead to the same size after a convolution with a stride.
    """

    def __init__(
        self, in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0, bias=True, rng=None
    ):
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride = pair(kernel_size, "kernel_size"), pair(stride, "stride")
        self.padding, self.output_padding = pair(padding, "padding"), pair(output_padding, "output_padding")
        fan_in = out_channels * self.kernel_size[0] * self.kernel_size[1]
        rng = rng or numpy.random.default_rng()
        self.weight = Parameter(uniform((in_channels, out_channels, *self.kernel_size), fan_in, rng))
        self.bias: Any = Parameter(uniform(out_channels, fan_in, rng)) if bias else None

    def forward(self, x):
        return functional.conv_transpose2d(x, self.weight, self.bias, self.stride, self.padding, self.output_padding)

    def extra_repr(self):
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}, output_padding={self.output_padding}"
        )
