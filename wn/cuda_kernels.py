"""w = g v/‖v‖ and its gradients (equations 2 and 3), one launch each: a block for each weight vector.

v as a matrix has a weight vector in each row. The block goes through its row twice: for the norm and the inner product,
and to write. The second time the row is in cache.
"""

from minigrad.kernels.cuda import Kernel, empty_like, like, usable

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


def takes(counting, v, g, *others):
    """Whether the kernels compute this: the axes `counting` the weight vectors come first, and v and g have no gaps."""
    in_front = counting == tuple(range(len(counting)))
    return in_front and usable(v, g, *others) and v.flags.c_contiguous and g.flags.c_contiguous


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
