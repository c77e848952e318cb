"""Faster forms for NumPy: large arrays in pieces that fit into the cache, spread over the cores."""

from minigrad.fast.cpu import convolution, linear_algebra, normalization, reduction, training

from minigrad.fast.cpu import elementwise  # isort: skip - last: its pieces are of what the others have put in place
