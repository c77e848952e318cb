"""Faster forms for CuPy: kernels for an NVIDIA GPU, each beside the function that calls it, and CUDA graphs."""

from minigrad.fast.cuda import adam, channels, convolution, elementwise, graphs, losses, lstm, pooling, products, random
