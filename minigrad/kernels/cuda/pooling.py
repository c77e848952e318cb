"""Max pooling and its gradient, for images whose channels are neighbours in memory.

The gradient is a gather: each entry of the image looks at the windows that it lies in, and takes the gradient of those
whose maximum it is the first to attain. No two threads write to one place, so nothing has to be added atomically.
"""

from minigrad import backend
from minigrad.kernels.cuda import Kernel, blocks_for, empty_like, is_aligned, usable
from minigrad.kernels.cuda.channels import in_rows

_SOURCE = r"""
template <int V, bool sum> __device__ void pool(const T* image, T* pooled, long long count, int channels, int height,
                                                int width, int rows, int columns, int size_y, int size_x,
                                                int stride_y, int stride_x) {
    const Pack<V>* x = (const Pack<V>*)image;
    Pack<V>* y = (Pack<V>*)pooled;
    long long place = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (place >= count) return;
    int c = place % channels;
    long long rest = place / channels;
    int j = rest % columns;
    rest /= columns;
    int i = rest % rows;
    long long n = rest / rows;
    const Pack<V>* corner = x + ((n * height + i * stride_y) * width + j * stride_x) * channels + c;
    Pack<V> most = *corner;  // or their sum
    if (sum) for (int k = 0; k < V; k++) most.entry[k] = 0;
    for (int a = 0; a < size_y; a++)
        for (int b = 0; b < size_x; b++) {
            Pack<V> here = corner[((long long)a * width + b) * channels];
            for (int k = 0; k < V; k++)
                if (sum) most.entry[k] += here.entry[k];
                else  // a NaN stays
                    if (here.entry[k] > most.entry[k] || here.entry[k] != here.entry[k]) most.entry[k] = here.entry[k];
        }
    y[place] = most;
}

template <int V> __device__ void spread(const T* image, const T* pooled, const T* gradient, T* result, long long count,
                                        int channels, int height, int width, int rows, int columns,
                                        int size_y, int size_x, int stride_y, int stride_x) {
    const Pack<V>* x = (const Pack<V>*)image;
    const Pack<V>* y = (const Pack<V>*)pooled;
    const Pack<V>* g = (const Pack<V>*)gradient;
    long long place = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (place >= count) return;
    int c = place % channels;
    long long rest = place / channels;
    int column = rest % width;
    rest /= width;
    int row = rest % height;
    long long n = rest / height;
    Pack<V> here = x[place], sum;
    for (int k = 0; k < V; k++) sum.entry[k] = 0;
    int first_i = row < size_y ? 0 : (row - size_y) / stride_y + 1, last_i = row / stride_y;
    int first_j = column < size_x ? 0 : (column - size_x) / stride_x + 1, last_j = column / stride_x;
    for (int i = first_i; i <= last_i && i < rows; i++)
        for (int j = first_j; j <= last_j && j < columns; j++) {
            long long window = ((n * rows + i) * columns + j) * channels + c;
            Pack<V> most = y[window];
            bool mine[V], any = false;
            for (int k = 0; k < V; k++) any |= mine[k] = here.entry[k] == most.entry[k];
            if (!any) continue;
            int before = (row - i * stride_y) * size_x + column - j * stride_x;  // entries that come first
            for (int e = 0; e < before; e++) {
                long long at = (n * height + i * stride_y + e / size_x) * width + j * stride_x + e % size_x;
                Pack<V> other = x[at * channels + c];
                for (int k = 0; k < V; k++) mine[k] = mine[k] && other.entry[k] != most.entry[k];
            }
            Pack<V> share = g[window];
            for (int k = 0; k < V; k++) sum.entry[k] += mine[k] ? share.entry[k] : (T)0;
        }
    ((Pack<V>*)result)[place] = sum;
}

// Windows side by side: each thread writes a whole window. Of the image, rows·size_y × columns·size_x is covered.
template <int V> __device__ void spread_apart(const T* image, const T* pooled, const T* gradient, T* result,
                                              long long count, int channels, int height, int width, int rows,
                                              int columns, int size_y, int size_x) {
    long long place = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (place >= count) return;
    int c = place % channels;
    long long rest = place / channels;
    int j = rest % columns;
    rest /= columns;
    int i = rest % rows;
    long long corner = ((rest / rows * height + i * size_y) * width + j * size_x) * channels + c;
    const Pack<V>* x = (const Pack<V>*)image + corner;
    Pack<V>* out = (Pack<V>*)result + corner;
    Pack<V> most = ((const Pack<V>*)pooled)[place], share = ((const Pack<V>*)gradient)[place];
    bool found[V];
    for (int k = 0; k < V; k++) found[k] = false;
    for (int a = 0; a < size_y; a++)
        for (int b = 0; b < size_x; b++) {
            long long at = ((long long)a * width + b) * channels;
            Pack<V> here = x[at];
            for (int k = 0; k < V; k++) {
                bool mine = !found[k] && here.entry[k] == most.entry[k];
                found[k] |= mine;
                here.entry[k] = mine ? share.entry[k] : (T)0;
            }
            out[at] = here;
        }
}

#define SHAPE long long count, int channels, int height, int width, int rows, int columns, \
              int size_y, int size_x, int stride_y, int stride_x
#define SIZES count, channels, height, width, rows, columns, size_y, size_x, stride_y, stride_x
extern "C" __global__ void max_pool_wide(const T* x, T* y, SHAPE) { pool<W, false>(x, y, SIZES); }
extern "C" __global__ void max_pool_narrow(const T* x, T* y, SHAPE) { pool<1, false>(x, y, SIZES); }
extern "C" __global__ void sum_pool_wide(const T* x, T* y, SHAPE) { pool<W, true>(x, y, SIZES); }
extern "C" __global__ void sum_pool_narrow(const T* x, T* y, SHAPE) { pool<1, true>(x, y, SIZES); }
extern "C" __global__ void spread_wide(const T* x, const T* y, const T* g, T* r, SHAPE) {
    spread<W>(x, y, g, r, SIZES);
}
extern "C" __global__ void spread_narrow(const T* x, const T* y, const T* g, T* r, SHAPE) {
    spread<1>(x, y, g, r, SIZES);
}
extern "C" __global__ void spread_apart_wide(const T* x, const T* y, const T* g, T* r, SHAPE) {
    spread_apart<W>(x, y, g, r, count, channels, height, width, rows, columns, size_y, size_x);
}
extern "C" __global__ void spread_apart_narrow(const T* x, const T* y, const T* g, T* r, SHAPE) {
    spread_apart<1>(x, y, g, r, count, channels, height, width, rows, columns, size_y, size_x);
}
"""
_POOL = {name: Kernel(f"max_pool_{name}", _SOURCE) for name in ("wide", "narrow")}
_SUM = {name: Kernel(f"sum_pool_{name}", _SOURCE) for name in ("wide", "narrow")}
_SPREAD = {name: Kernel(f"spread_{name}", _SOURCE) for name in ("wide", "narrow")}
_SPREAD_APART = {name: Kernel(f"spread_apart_{name}", _SOURCE) for name in ("wide", "narrow")}


def takes(*arrays):
    return usable(*arrays) and all(a.ndim == 4 for a in arrays)


def _launch(kernels, count_over, arrays, x, out, size, stride):
    width = 16 // x.itemsize
    wide = x.shape[1] % width == 0 and is_aligned(*arrays)
    each = width if wide else 1
    count = count_over.size // each
    kernels["wide" if wide else "narrow"](
        x.dtype, blocks_for(count), *arrays, count, x.shape[1] // each, *x.shape[2:], *out, *size, *stride
    )


def max_pool2d(x, size, stride):
    """The largest entry of each window of x (N, C, H, W)."""
    return _pooled(_POOL, x, size, stride)


def sum_pool2d(x, size, stride):
    """The sum of each window of x (N, C, H, W)."""
    return _pooled(_SUM, x, size, stride)


def _pooled(kernels, x, size, stride):
    out = tuple((n - k) // s + 1 for n, k, s in zip(x.shape[2:], size, stride, strict=True))
    x = in_rows(x)
    y = backend.array_module(x).ndarray((x.shape[0], *out, x.shape[1]), x.dtype).transpose(0, 3, 1, 2)
    _launch(kernels, y, (x, y), x, out, size, stride)
    return y


def spread(v, x, y, size, stride):
    """Zeros in the shape of x, with v[window] added at the first entry of the window that is its maximum y[window]."""
    out = tuple((n - k) // s + 1 for n, k, s in zip(x.shape[2:], size, stride, strict=True))
    if not v.shape == y.shape == (*x.shape[:2], *out):
        raise ValueError(f"windows of x {x.shape} must have values of shape {(*x.shape[:2], *out)}")
    v, x, y = in_rows(v), in_rows(x), in_rows(y)
    result = empty_like(x)
    apart = size == stride and all(n == m * k for n, m, k in zip(x.shape[2:], y.shape[2:], size, strict=True))
    _launch(_SPREAD_APART if apart else _SPREAD, y if apart else x, (x, y, v, result), x, y.shape[2:], size, stride)
    return result
