"""Products of two matrices without CuPy's own preparations, and a bias added in place."""

from minigrad import backend
from minigrad.fast.cuda import channels, gpu
from minigrad.fast.cuda.kernel import usable
from minigrad.fast.replace import faster, instead


def takes(a, b):
    """Whether these are two matrices that `matmul` multiplies."""
    fit = a.ndim == b.ndim == 2 and a.shape[1] == b.shape[0] and _in_order(a) and _in_order(b)
    return fit and usable(a, b)


def matmul(a, b, bias=None):
    """a @ b (+ bias for each column), in full precision: TF32 is for convolutions."""
    product = backend.array_module(a).ndarray((a.shape[0], b.shape[1]), a.dtype)
    gpu.matrix_product(a, b, product, fast=False)
    if bias is None:
        return product
    return channels.add_bias(product, bias) if usable(product, bias) else product + bias


def _in_order(a):
    return a.flags.c_contiguous or a.flags.f_contiguous


faster("matmul", "cuda", instead(lambda xp, a, b: matmul(a, b), lambda xp, a, b: takes(a, b)))
faster(
    "linear",
    "cuda",
    instead(lambda xp, x, weight, bias: matmul(x, weight.T, bias), lambda xp, x, weight, bias: takes(x, weight.T)),
)
