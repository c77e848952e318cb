"""Pooling: an image made smaller by taking the largest or the mean of each window."""

from minigrad.nn import functional
from minigrad.nn.module import Module


class MaxPool2d(Module):
    """The largest entry of each window of `size`, windows `stride` apart (by default, side by side)."""

    def __init__(self, size, stride=None):
        super().__init__()
        self.size, self.stride = size, stride

    def forward(self, x):
        return functional.max_pool2d(x, self.size, self.stride)

    def extra_repr(self):
        return f"{self.size}" + ("" if self.stride is None else f", stride={self.stride}")


class AvgPool2d(MaxPool2d):
    """The mean of each window of `size`, windows `stride` apart (by default, side by side)."""

    def forward(self, x):
        return functional.avg_pool2d(x, self.size, self.stride)


class GlobalAvgPool2d(Module):
    """The mean of each channel: (N, C, H, W) to (N, C)."""

    def forward(self, x):
        return x.mean(axis=(2, 3))
