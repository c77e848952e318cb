"""Faster forms of w = g v/‖v‖ and its gradients (equations 2 and 3), and, on a GPU, of mean-only batch normalization.

Nothing imports this file but `wn/__init__.py`, last; with MINIGRAD_PLAIN=1 it is left out. It takes v as a matrix with
a weight vector in each row.

- On a GPU w takes one launch, and so do its gradients, with a block for each row. The block goes through its row twice:
  for the norm and the inner product, and to write. The second time the row is in cache.
- On the CPU the norm and the inner product are vector products, and each result is a multiple of v, or a sum of
  multiples of v and ∇_w: equation 3 as a ∇_w - b v, with a = g/‖v‖ and b = g ∇_g/‖v‖².
"""

import numpy

from minigrad.fast.cuda import channels
from minigrad.fast.cuda.kernel import Kernel, empty_like, like, usable
from minigrad.fast.replace import faster, instead
from wn.gradients import as_column, counting_axes

_FORWARD = Kernel(
    "weight_norm",
    r"""
extern "C" __global__ void weight_norm(const T* v, const T* g, T* w, long long length) {
    __shared__ T scratch[256];
    v += blockIdx.x * length;
    w += blockIdx.x * length;
    T square = 0;
    for (long long i = threadIdx.x; i < length; i += blockDim.x) square += v[i] * v[i];
    T scale = g[blockIdx.x] / sqrt(block_sum(square, scratch));
    for (long long i = threadIdx.x; i < length; i += blockDim.x) w[i] = v[i] * scale;
}
""",
)

_BACKWARD = Kernel(
    "weight_norm_gradients",
    r"""
extern "C" __global__ void weight_norm_gradients(const T* grad_w, const T* v, const T* g, T* grad_v, T* grad_g,
                                                 long long length) {
    __shared__ T scratch[256];
    grad_w += blockIdx.x * length;
    v += blockIdx.x * length;
    grad_v += blockIdx.x * length;
    T square = 0, product = 0;
    for (long long i = threadIdx.x; i < length; i += blockDim.x) {
        square += v[i] * v[i];
        product += grad_w[i] * v[i];
    }
    T norm = sqrt(block_sum(square, scratch)), along = block_sum(product, scratch) / norm, scale = g[blockIdx.x];
    if (threadIdx.x == 0) grad_g[blockIdx.x] = along;
    T a = scale / norm, b = scale * along / (norm * norm);
    for (long long i = threadIdx.x; i < length; i += blockDim.x) grad_v[i] = a * grad_w[i] - b * v[i];
}
""",
)


LONGEST = 2**13  # entries of a vector on the CPU: of longer ones OpenBLAS lets each of its threads add up a part
LEAST, MOST = 1e-6, 1e6  # ‖v‖ and g between which nothing here overflows, or vanishes beside the rest,
LARGEST = 1e18  # unless the gradient for g is larger


def takes(v, g, axis, *others):
    """Whether the kernels compute this: the axes that index the weight vectors come first, v and g have no gaps."""
    return usable(v, g, *others) and _in_rows(v, g, axis)


def _in_rows(v, g, axis):
    """Whether v is a matrix with a weight vector in each row, and g is as long as it has rows, both without gaps."""
    as_column(g, v, axis)  # ValueError if they do not fit
    counting = counting_axes(v.ndim, axis)
    return counting == tuple(range(len(counting))) and v.flags.c_contiguous and g.flags.c_contiguous


def weight_norm(v, g):
    """g v/‖v‖, for g with an entry for each weight vector."""
    w = empty_like(v)
    _FORWARD(v.dtype, g.size, v, g, w, v.size // g.size)
    return w


def gradients(grad_w, v, g):
    """(grad_v, grad_g) of equation 3."""
    grad_v, grad_g = empty_like(v), empty_like(g)
    _BACKWARD(v.dtype, g.size, like(grad_w, v), v, g, grad_v, grad_g, v.size // g.size)
    return grad_v, grad_g


def weight_norm_by_rows(plain):
    """w on the CPU."""

    def forward(xp, v, g, axis):
        if found := _rows(axis, v, g):
            (v_rows,), norm, scale = found
            return (v_rows * (scale / norm)).reshape(v.shape)
        return plain(xp, v, g, axis)

    return forward


def gradients_by_rows(plain):
    """(grad_v, grad_g) on the CPU."""

    def joint(grad_w, w, v, g, axis):
        if found := _rows(axis, v, g, grad_w):
            (v_rows, grad_rows), norm, scale = found
            with numpy.errstate(all="ignore"):
                along = numpy.vecdot(grad_rows, v_rows)[:, None] / norm
            if (abs(along) < LARGEST).all():
                a = scale / norm
                grad_v = a * grad_rows
                grad_v -= a * (along / norm) * v_rows
                return grad_v.reshape(v.shape), along.reshape(g.shape)
        return plain(grad_w, w, v, g, axis)

    return joint


def _rows(axis, v, g, *others):
    """([v and others with a weight vector in each row], norms and g as columns); None for what is left to `plain`."""
    if not all(isinstance(a, numpy.ndarray) and a.dtype == v.dtype for a in (v, g, *others)):
        return None
    if v.dtype.char not in "fd" or not _in_rows(v, g, axis) or not 0 < v.size <= LONGEST * g.size:
        return None
    rows = [a.reshape(g.size, -1) for a in (v, *others)]
    with numpy.errstate(all="ignore"):
        norm = numpy.sqrt(numpy.vecdot(rows[0], rows[0]))[:, None]
    scale = g.reshape(-1, 1)
    lengths = numpy.concatenate([norm, abs(scale)])
    return (rows, norm, scale) if (lengths > LEAST).all() and (lengths < MOST).all() else None


faster("weight_norm", "cpu", weight_norm_by_rows, joint=gradients_by_rows)
faster(
    "weight_norm",
    "cuda",
    instead(lambda xp, v, g, axis: weight_norm(v, g), lambda xp, v, g, axis: takes(v, g, axis)),
    joint=instead(
        lambda grad_w, w, v, g, axis: gradients(grad_w, v, g), lambda grad_w, w, v, g, axis: takes(v, g, axis, grad_w)
    ),
)
faster(
    "mean_only",
    "cuda",
    instead(
        lambda xp, t, bias, mean: channels.shifted(t, mean, bias),
        lambda xp, t, bias, mean: channels.usable_per_channel(t, bias),
    ),
    joint=instead(
        lambda g, shifted, t, bias, mean: channels.without_mean_gradients(g),
        lambda g, shifted, t, bias, mean: channels.usable_per_channel(g),
    ),
)
