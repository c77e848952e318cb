"""Max and average pooling and their gradients, for images that lie in memory channels last.

The gradients are gathers: each entry of the image looks at the windows that it lies in, and takes the gradient of those
whose maximum it is the first to attain; of means, that of all of them. No two threads write to one place, so nothing
has to be added atomically.
"""

from minigrad import backend
from minigrad.fast.cuda import gpu
from minigrad.fast.cuda.channels import channels_last
from minigrad.fast.cuda.kernel import Kernel, blocks_for, empty_like, is_aligned, usable
from minigrad.fast.replace import faster, instead, without_library
from minigrad.ops.convolution import pooled_size
from minigrad.ops.reduction import with_reduced_axes

_SOURCE = r"""
// Where in images (N, rows, columns, channels) a thread's entry is.
struct Place { long long index, n; int row, column, c; };
__device__ Place place_of_thread(int rows, int columns, int channels) {
    Place at;
    at.index = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    long long rest = at.index / channels;
    at.c = at.index % channels;
    at.column = rest % columns;
    rest /= columns;
    at.row = rest % rows;
    at.n = rest / rows;
    return at;
}

// Whether an entry is a window's largest, or a NaN, which counts as that.
__device__ bool is_picked(T entry, T most) { return entry == most || entry != entry; }

// The windows, in one direction, that an entry lies in: from the first to the last.
struct Windows { int first, last; };
__device__ Windows windows_over(int at, int size, int stride, int count) {
    int last = at / stride;
    return {at < size ? 0 : (at - size) / stride + 1, last < count ? last : count - 1};
}

template <int V, bool mean> __device__ void pool(const T* image, T* pooled, long long count, int channels, int height,
                                                 int width, int rows, int columns, int size_y, int size_x,
                                                 int stride_y, int stride_x) {
    const Pack<V>* x = (const Pack<V>*)image;
    Place at = place_of_thread(rows, columns, channels);
    if (at.index >= count) return;
    const Pack<V>* corner = x + ((at.n * height + at.row * stride_y) * width + at.column * stride_x) * channels + at.c;
    Pack<V> most = *corner;  // or their sum
    if (mean) for (int k = 0; k < V; k++) most.entry[k] = 0;
    for (int a = 0; a < size_y; a++)
        for (int b = 0; b < size_x; b++) {
            Pack<V> here = corner[((long long)a * width + b) * channels];
            for (int k = 0; k < V; k++)
                if (mean) most.entry[k] += here.entry[k];
                else  // a NaN stays
                    if (here.entry[k] > most.entry[k] || here.entry[k] != here.entry[k]) most.entry[k] = here.entry[k];
        }
    if (mean) for (int k = 0; k < V; k++) most.entry[k] *= T(1) / (size_y * size_x);
    ((Pack<V>*)pooled)[at.index] = most;
}

template <int V> __device__ void max_unpool(const T* image, const T* pooled, const T* gradient, T* result,
                                               long long count, int channels, int height, int width, int rows,
                                               int columns, int size_y, int size_x, int stride_y, int stride_x) {
    const Pack<V>* x = (const Pack<V>*)image;
    const Pack<V>* y = (const Pack<V>*)pooled;
    const Pack<V>* g = (const Pack<V>*)gradient;
    Place at = place_of_thread(height, width, channels);
    if (at.index >= count) return;
    Windows down = windows_over(at.row, size_y, stride_y, rows);
    Windows across = windows_over(at.column, size_x, stride_x, columns);
    Pack<V> here = x[at.index], sum;
    for (int k = 0; k < V; k++) sum.entry[k] = 0;
    for (int i = down.first; i <= down.last; i++)
        for (int j = across.first; j <= across.last; j++) {
            long long window = ((at.n * rows + i) * columns + j) * channels + at.c;
            Pack<V> most = y[window];
            bool mine[V], any = false;
            for (int k = 0; k < V; k++) any |= mine[k] = is_picked(here.entry[k], most.entry[k]);
            if (!any) continue;
            int before = (at.row - i * stride_y) * size_x + at.column - j * stride_x;  // entries that come first
            for (int e = 0; e < before; e++) {
                long long pixel = (at.n * height + i * stride_y + e / size_x) * width + j * stride_x + e % size_x;
                Pack<V> other = x[pixel * channels + at.c];
                for (int k = 0; k < V; k++) mine[k] = mine[k] && !is_picked(other.entry[k], most.entry[k]);
            }
            Pack<V> share = g[window];
            for (int k = 0; k < V; k++) sum.entry[k] += mine[k] ? share.entry[k] : (T)0;
        }
    ((Pack<V>*)result)[at.index] = sum;
}

// Windows side by side: each thread writes a whole window. Of the image, rows·size_y × columns·size_x is covered.
template <int V> __device__ void max_unpool_apart(const T* image, const T* pooled, const T* gradient, T* result,
                                              long long count, int channels, int height, int width, int rows,
                                              int columns, int size_y, int size_x) {
    Place at = place_of_thread(rows, columns, channels);
    if (at.index >= count) return;
    long long corner = ((at.n * height + at.row * size_y) * width + at.column * size_x) * channels + at.c;
    const Pack<V>* x = (const Pack<V>*)image + corner;
    Pack<V>* out = (Pack<V>*)result + corner;
    Pack<V> most = ((const Pack<V>*)pooled)[at.index], share = ((const Pack<V>*)gradient)[at.index];
    bool found[V];
    for (int k = 0; k < V; k++) found[k] = false;
    for (int a = 0; a < size_y; a++)
        for (int b = 0; b < size_x; b++) {
            long long entry = ((long long)a * width + b) * channels;
            Pack<V> here = x[entry];
            for (int k = 0; k < V; k++) {
                bool mine = !found[k] && is_picked(here.entry[k], most.entry[k]);
                found[k] |= mine;
                here.entry[k] = mine ? share.entry[k] : (T)0;
            }
            out[entry] = here;
        }
}

template <int V> __device__ void avg_unpool(const T* gradient, T* result, long long count, int channels, int height,
                                               int width, int rows, int columns, int size_y, int size_x,
                                               int stride_y, int stride_x) {
    const Pack<V>* g = (const Pack<V>*)gradient;
    Place at = place_of_thread(height, width, channels);
    if (at.index >= count) return;
    Windows down = windows_over(at.row, size_y, stride_y, rows);
    Windows across = windows_over(at.column, size_x, stride_x, columns);
    Pack<V> sum;
    for (int k = 0; k < V; k++) sum.entry[k] = 0;
    for (int i = down.first; i <= down.last; i++)
        for (int j = across.first; j <= across.last; j++) {
            Pack<V> share = g[((at.n * rows + i) * columns + j) * channels + at.c];
            for (int k = 0; k < V; k++) sum.entry[k] += share.entry[k];
        }
    for (int k = 0; k < V; k++) sum.entry[k] *= T(1) / (size_y * size_x);
    ((Pack<V>*)result)[at.index] = sum;
}

#define SHAPE long long count, int channels, int height, int width, int rows, int columns, \
              int size_y, int size_x, int stride_y, int stride_x
#define SIZES count, channels, height, width, rows, columns, size_y, size_x, stride_y, stride_x
extern "C" __global__ void max_pool_wide(const T* x, T* y, SHAPE) { pool<W, false>(x, y, SIZES); }
extern "C" __global__ void max_pool_narrow(const T* x, T* y, SHAPE) { pool<1, false>(x, y, SIZES); }
extern "C" __global__ void avg_pool_wide(const T* x, T* y, SHAPE) { pool<W, true>(x, y, SIZES); }
extern "C" __global__ void avg_pool_narrow(const T* x, T* y, SHAPE) { pool<1, true>(x, y, SIZES); }
extern "C" __global__ void max_unpool_wide(const T* x, const T* y, const T* g, T* r, SHAPE) {
    max_unpool<W>(x, y, g, r, SIZES);
}
extern "C" __global__ void max_unpool_narrow(const T* x, const T* y, const T* g, T* r, SHAPE) {
    max_unpool<1>(x, y, g, r, SIZES);
}
extern "C" __global__ void max_unpool_apart_wide(const T* x, const T* y, const T* g, T* r, SHAPE) {
    max_unpool_apart<W>(x, y, g, r, count, channels, height, width, rows, columns, size_y, size_x);
}
extern "C" __global__ void max_unpool_apart_narrow(const T* x, const T* y, const T* g, T* r, SHAPE) {
    max_unpool_apart<1>(x, y, g, r, count, channels, height, width, rows, columns, size_y, size_x);
}
extern "C" __global__ void avg_unpool_wide(const T* g, T* r, SHAPE) { avg_unpool<W>(g, r, SIZES); }
extern "C" __global__ void avg_unpool_narrow(const T* g, T* r, SHAPE) { avg_unpool<1>(g, r, SIZES); }
"""


def _kernels(name):
    """The kernel that takes several channels at a time, and the one that takes them one by one."""
    return {width: Kernel(f"{name}_{width}", _SOURCE) for width in ("wide", "narrow")}


_MAX, _AVG = _kernels("max_pool"), _kernels("avg_pool")
_MAX_UNPOOL, _AVG_UNPOOL = _kernels("max_unpool"), _kernels("avg_unpool")
_MAX_UNPOOL_APART = _kernels("max_unpool_apart")  # windows side by side


def takes(*arrays):
    return usable(*arrays) and all(a.ndim == 4 for a in arrays)


def _launch(kernels, count_over, arrays, image, pooled, size, stride):
    """A thread for each entry of `count_over`; of images and of what is pooled of them only the shapes count here."""
    width = 16 // count_over.itemsize
    wide = image[1] % width == 0 and is_aligned(*arrays)
    each = width if wide else 1
    count = count_over.size // each
    kernels["wide" if wide else "narrow"](
        count_over.dtype, blocks_for(count), *arrays, count, image[1] // each, *image[2:], *pooled[2:], *size, *stride
    )


def max_pool2d(x, size, stride):
    """The largest entry of each window of x (N, C, H, W)."""
    return _pooled(_MAX, x, size, stride)


def avg_pool2d(x, size, stride):
    """The mean of each window of x (N, C, H, W)."""
    return _pooled(_AVG, x, size, stride)


def _pooled(kernels, x, size, stride):
    pooled_size(x, size, stride)
    x, y = channels_last(x), _channels_last_of_shape(x, _pooled_shape(x.shape, size, stride))
    _launch(kernels, y, (x, y), x.shape, y.shape, size, stride)
    return y


def max_unpool2d(v, x, y, size, stride):
    """Zeros in the shape of x, with v[window] added at the first entry of the window that is its maximum y[window]."""
    _check_windows(v, x.shape, size, stride)
    _check_windows(y, x.shape, size, stride)
    v, x, y = channels_last(v), channels_last(x), channels_last(y)
    result = empty_like(x)
    apart = size == stride and all(n == m * k for n, m, k in zip(x.shape[2:], y.shape[2:], size, strict=True))
    _launch(
        _MAX_UNPOOL_APART if apart else _MAX_UNPOOL,
        y if apart else x,
        (x, y, v, result),
        x.shape,
        y.shape,
        size,
        stride,
    )
    return result


def avg_unpool2d(v, image, size, stride):
    """Zeros of size `image` (H, W), with its share of v[window] added to each entry of that window."""
    shape = (*v.shape[:2], *image)
    _check_windows(v, shape, size, stride)
    v, result = channels_last(v), _channels_last_of_shape(v, shape)
    if result.size:
        _launch(_AVG_UNPOOL, result, (v, result), shape, v.shape, size, stride)
    return result


def _pooled_shape(shape, size, stride):
    return *shape[:2], *((n - k) // s + 1 for n, k, s in zip(shape[2:], size, stride, strict=True))


def _check_windows(v, shape, size, stride):
    if v.shape != _pooled_shape(shape, size, stride):
        raise ValueError(
            f"windows of images {shape} have values of shape {_pooled_shape(shape, size, stride)}, not {v.shape}"
        )


def _channels_last_of_shape(x, shape):
    """New images of this shape, of the dtype of x."""
    n, c, h, w = shape
    return backend.array_module(x).ndarray((n, h, w, c), x.dtype).transpose(0, 3, 1, 2)


# ---- in the place of the plain forms --------------------------------------------------------------------------------


def _takes(xp, *args, **params):
    return takes(*[a for a in args if backend.is_array(a)])


for function in (max_pool2d, max_unpool2d, avg_pool2d, avg_unpool2d):
    faster(function.__name__, "cuda", instead(without_library(function), _takes))


def _mean_of_images_takes(g, y, x, axis=None, keepdims=False):
    return axis == (2, 3) and gpu.runs_kernels(g) and takes(with_reduced_axes(g, x.shape, axis))


def _mean_of_images_gradient(g, y, x, axis=None, keepdims=False):
    return avg_unpool2d(with_reduced_axes(g, x.shape, axis), x.shape[2:], x.shape[2:], (1, 1))


faster("mean", "cuda", rules=[instead(_mean_of_images_gradient, _mean_of_images_takes)])
