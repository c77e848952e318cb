"""Products of two matrices without CuPy's own preparations, and a bias added in place."""

from minigrad.backend import gpu
from minigrad.kernels.cuda import channels, usable


def matmul(xp, a, b, bias=None):
    """a @ b (+ bias for each column), in full precision: TF32 is for convolutions."""
    if a.ndim == b.ndim == 2 and a.shape[1] == b.shape[0] and usable(a, b) and _in_order(a) and _in_order(b):
        product = xp.ndarray((a.shape[0], b.shape[1]), a.dtype)
        gpu.matrix_product(a, b, product, fast=False)
    else:
        product = xp.matmul(a, b)
    if bias is None:
        return product
    return channels.add_bias(product, bias) if product.ndim == 2 and usable(product, bias) else product + bias


def _in_order(a):
    return a.flags.c_contiguous or a.flags.f_contiguous
