"""Softmax cross-entropy and its gradient: a block for each example, and nothing written in between."""

from minigrad import backend
from minigrad.fast.cuda import channels
from minigrad.fast.cuda.kernel import Kernel, empty_like, usable
from minigrad.fast.replace import faster, instead

_SOURCE = r"""
// The largest of a row's entries, and the sum of exp(entry - largest), for each thread of the block.
__device__ void normalizer(const T* x, long long classes, T* scratch, T& largest, T& total) {
    T most = x[0];
    for (long long i = threadIdx.x; i < classes; i += blockDim.x) most = x[i] > most || x[i] != x[i] ? x[i] : most;
    scratch[threadIdx.x] = most;
    __syncthreads();
    for (int half = blockDim.x / 2; half; half /= 2) {
        T other = threadIdx.x < half ? scratch[threadIdx.x + half] : most;
        if (threadIdx.x < half && (other > scratch[threadIdx.x] || other != other)) scratch[threadIdx.x] = other;
        __syncthreads();
    }
    largest = scratch[0];
    __syncthreads();
    T sum = 0;
    for (long long i = threadIdx.x; i < classes; i += blockDim.x) sum += exp(x[i] - largest);
    total = block_sum(sum, scratch);
}

extern "C" __global__ void cross_entropy(const T* x, const long long* labels, T* losses, long long classes) {
    __shared__ T scratch[256];
    x += blockIdx.x * classes;
    T largest, total;
    normalizer(x, classes, scratch, largest, total);
    long long label = labels[blockIdx.x];
    if (threadIdx.x == 0)  // a label out of range: NaN, since CUDA cannot raise an error
        losses[blockIdx.x] = label < 0 || label >= classes ? (T)nan("") : log(total) - (x[label] - largest);
}

extern "C" __global__ void cross_entropy_gradient(const T* x, const long long* labels, const T* g, T* gradient,
                                                  long long classes, long long examples) {
    __shared__ T scratch[256];
    x += blockIdx.x * classes;
    gradient += blockIdx.x * classes;
    T largest, total;
    normalizer(x, classes, scratch, largest, total);
    long long label = labels[blockIdx.x];
    T factor = label < 0 || label >= classes ? (T)nan("") : g[0] / examples;
    for (long long i = threadIdx.x; i < classes; i += blockDim.x)
        gradient[i] = (exp(x[i] - largest) / total - (i == label ? 1 : 0)) * factor;
}
"""
_FORWARD = Kernel("cross_entropy", _SOURCE)
_BACKWARD = Kernel("cross_entropy_gradient", _SOURCE)


def takes(x, *others):
    return usable(x, *others) and x.ndim == 2


def _without_gaps(x, labels):
    """Both without gaps, the labels as `long long`."""
    if labels.shape != (len(x),):
        raise ValueError(f"labels {labels.shape} must be as many as the rows of {x.shape}")
    xp = backend.array_module(x)
    return xp.ascontiguousarray(x), xp.ascontiguousarray(labels.astype("int64", copy=False))


def _threads(classes):
    return 32 if classes <= 32 else None  # as many as usual


def cross_entropy(x, labels):
    """Mean of log Σ exp(x) - x[label], NaN if a label is out of range."""
    xp = backend.array_module(x)
    x, labels = _without_gaps(x, labels)
    losses = xp.ndarray(len(x), x.dtype)
    _FORWARD(x.dtype, len(x), x, labels, losses, x.shape[1], threads=_threads(x.shape[1]))
    return channels.mean(losses.reshape(-1, 1)).reshape(())


def cross_entropy_gradient(g, x, labels):
    """(softmax(x) - one-hot labels) · g / N, for a gradient g of the mean."""
    x, labels = _without_gaps(x, labels)
    gradient = empty_like(x)
    _BACKWARD(x.dtype, len(x), x, labels, g, gradient, x.shape[1], len(x), threads=_threads(x.shape[1]))
    return gradient


faster(
    "cross_entropy",
    "cuda",
    instead(lambda xp, x, labels: cross_entropy(x, labels), lambda xp, x, labels: takes(x)),
    [instead(lambda g, y, x, labels: cross_entropy_gradient(g, x, labels), lambda g, y, x, labels: takes(x, g))],
)
