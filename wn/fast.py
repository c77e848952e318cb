"""Faster forms for a GPU: w = g v/‖v‖ and its gradients (equations 2 and 3), a launch each; mean-only batch norm.

Nothing imports this file but `wn/__init__.py`, last; with MINIGRAD_PLAIN=1 it is left out. Of weight normalization each
launch has a block for each weight vector.

v as a matrix has a weight vector in each row. The block goes through its row twice: for the norm and the inner product,
and to write. The second time the row is in cache.
"""

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


def takes(v, g, axis, *others):
    """Whether the kernels compute this: the axes that index the weight vectors come first, v and g have no gaps."""
    if not usable(v, g, *others):
        return False
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
