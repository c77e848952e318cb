"""Convolution as one matrix product: the windows of all images, the rows of a matrix (im2col), times the weight.

    rows (N·H'·W', kh·kw·C)  ·  weight (kh·kw·C, O)  =  y (N·H'·W', O)

The batch goes through in one piece unless its windows would take more than `BYTES`. All three derivatives of a
convolution are such products.

Precision: products of float32 arrays are computed in TF32 on GPUs that have it, as PyTorch does by default for
convolutions. Their factors are rounded to 11 bits, sums are kept in float32; the relative error is about 3e-4.
Without `mg.config.tf32` they are full float32 products.
"""

import math

import numpy

from minigrad import backend
from minigrad.fast.convolution import faster_convolutions
from minigrad.fast.cuda import channels, cudnn, gpu
from minigrad.fast.cuda.kernel import Kernel, blocks_for, is_aligned, is_channels_last, usable
from minigrad.settings import config

BYTES = 2**30  # of windows at a time


_WINDOWS = r"""
template <int V> __device__ void windows(const T* image, T* matrix, int height, int width, int channels, int columns,
                                         int size_y, int size_x, int stride_y, int stride_x, int offset_y, int offset_x,
                                         int dilation_y, int dilation_x, int length) {
    // A block for each row of outputs; a thread takes a few channels of an output through all places of the kernel.
    // `length` is that of a row of the matrix: size_y·size_x·channels, and zeros.
    const Pack<V>* __restrict__ x = (const Pack<V>*)image + (long long)blockIdx.y * height * width * channels;
    Pack<V>* __restrict__ rows = (Pack<V>*)matrix + (blockIdx.y * (long long)gridDim.x + blockIdx.x) * columns * length;
    Pack<V> zero;
    for (int e = 0; e < V; e++) zero.entry[e] = 0;
    for (int t = threadIdx.x; t < columns * channels; t += blockDim.x) {
        int j = t / channels, c = t - j * channels;
        Pack<V>* out = rows + j * length + c;
        for (int a = 0; a < size_y; a++) {
            int row = blockIdx.x * stride_y + a - offset_y;
            bool inside = row >= 0 && (dilation_y == 1 || row % dilation_y == 0);
            if (inside && dilation_y != 1) row /= dilation_y;
            inside = inside && row < height;
            const Pack<V>* from = x + (inside ? (long long)row * width * channels + c : 0);
            #pragma unroll 3
            for (int b = 0; b < size_x; b++) {
                int column = j * stride_x + b - offset_x;
                bool here = inside && column >= 0 && (dilation_x == 1 || column % dilation_x == 0);
                if (here && dilation_x != 1) column /= dilation_x;
                *out = here && column < width ? from[column * channels] : zero;
                out += channels;
            }
        }
        if (c == 0) for (int k = size_y * size_x * channels; k < length; k++) rows[j * length + k] = zero;
    }
}

#define SIZES int height, int width, int channels, int columns, int size_y, int size_x, int stride_y, int stride_x, \
              int offset_y, int offset_x, int dilation_y, int dilation_x, int length
#define PASSED height, width, channels, columns, size_y, size_x, stride_y, stride_x, offset_y, offset_x, \
               dilation_y, dilation_x, length
extern "C" __global__ void windows_wide(const T* x, T* rows, SIZES) { windows<W>(x, rows, PASSED); }
extern "C" __global__ void windows_narrow(const T* x, T* rows, SIZES) { windows<1>(x, rows, PASSED); }
"""
_WIDE, _NARROW = Kernel("windows_wide", _WINDOWS), Kernel("windows_narrow", _WINDOWS)

_PACK = Kernel(
    "pack",
    r"""
// A weight (outputs, channels, size_y, size_x) of any strides as the matrix (outputs, length) of the product's order.
extern "C" __global__ void pack(const T* w, T* matrix, long long count, int channels, int size_y, int size_x,
                                int length, long long of_output, long long of_channel, long long of_y, long long of_x) {
    long long place = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (place >= count) return;
    int k = place % length, c = k % channels, b = k / channels % size_x, a = k / channels / size_x;
    matrix[place] = a < size_y ? w[place / length * of_output + c * of_channel + a * of_y + b * of_x] : (T)0;
}
""",
)
_UNPACK = Kernel(
    "unpack",
    r"""
extern "C" __global__ void unpack(const T* matrix, T* w, long long count, int channels, int size_y, int size_x,
                                  int length) {
    long long place = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (place >= count) return;
    long long rest = place;
    int b = rest % size_x;
    rest /= size_x;
    int a = rest % size_y;
    rest /= size_y;
    int c = rest % channels;
    w[place] = matrix[rest / channels * length + (a * size_x + b) * channels + c];
}
""",
)


def correlate(x, w, stride, offset, dilation, span, bias=None):
    """The images correlated with the kernels, on a canvas of zeros around and between the pixels."""
    if x.shape[1] != w.shape[1]:
        raise ValueError(f"images with {x.shape[1]} channels, and a weight made for {w.shape[1]}")
    xp, size, fast = backend.array_module(x), w.shape[2:], config.tf32
    x, w = _of_one_dtype(x, w)
    out = tuple((n - 1) // s + 1 for n, s in zip(span, stride, strict=True))
    y = xp.ndarray((x.shape[0], *out, w.shape[0]), x.dtype)
    x = _pixels(xp, x)
    if not (
        cudnn.takes(x, size, stride, offset, dilation, out)
        and cudnn.correlate(x, _packed(xp, w, math.prod(w.shape[1:])), y, size, stride, offset)
    ):
        weight = _packed(xp, w, _row_length(x, size))
        for few, rows in _windows(xp, x, size, out, stride, offset, dilation):
            part = y if len(rows) * len(w) == y.size else y[few]
            gpu.matrix_product(rows, weight.T, part.reshape(len(rows), len(w)), fast)
    y = y.transpose(0, 3, 1, 2)
    return y if bias is None else channels.add_bias(y, bias) if bias.dtype == y.dtype else y + bias.reshape(-1, 1, 1)


def correlate_over_batch(gy, x, size, stride, offset):
    """The gradient of a convolution for its kernel: Σ over images of gy[n]ᵀ · windows(x[n])."""
    xp, shape, fast = backend.array_module(x), (gy.shape[1], x.shape[1], *size), config.tf32
    gy, x = _of_one_dtype(gy, x)
    gy, x = _pixels(xp, gy), _pixels(xp, x)
    if cudnn.takes(x, size, stride, offset, (1, 1), gy.shape[1:3]):
        total = xp.ndarray((shape[0], math.prod(shape[1:])), x.dtype)
        if cudnn.correlate_over_batch(gy, x, total, size, stride, offset):
            return _unpacked(xp, total, shape)
    total = None
    for few, rows in _windows(xp, x, size, gy.shape[1:3], stride, offset, (1, 1)):
        part = xp.ndarray((shape[0], rows.shape[1]), x.dtype)
        some = gy if len(rows) * shape[0] == gy.size else gy[few]
        gpu.matrix_product(some.reshape(len(rows), shape[0]).T, rows, part, fast)
        total = part if total is None else total + part
    return _unpacked(xp, total, shape)


def _of_one_dtype(a, b):
    """Both in the dtype that they promote to: a kernel takes one."""
    dtype = numpy.promote_types(a.dtype, b.dtype)
    return a.astype(dtype, copy=False), b.astype(dtype, copy=False)


def _pixels(xp, x):
    """(N, C, H, W) as an array (N, H, W, C) without gaps."""
    pixels = x.transpose(0, 2, 3, 1)
    return pixels if is_channels_last(x) else xp.ascontiguousarray(pixels)


def _row_length(x, size):
    """Entries in a row of the matrix of windows: rounded up to what TF32 products can work with."""
    length = math.prod(size) * x.shape[-1]
    return -(-length // 4) * 4 if x.dtype.itemsize == 4 else length


def _windows(xp, x, size, out, stride, offset, dilation):
    """(some of the images as a slice, their windows as the rows of a matrix), for all images (N, H, W, C)."""
    length = _row_length(x, size)
    itself = (size, stride, offset, dilation) == ((1, 1), (1, 1), (0, 0), (1, 1)) and out == x.shape[1:3]
    if itself and length == x.shape[-1]:
        yield slice(0, len(x)), x.reshape(-1, length)
        return
    each = math.prod(out) * length
    count = max(1, min(BYTES // max(1, each * x.dtype.itemsize), 65535))  # CUDA's limit for the grid's second direction
    for start in range(0, len(x), count):
        few = slice(start, min(start + count, len(x)))
        some = x if count >= len(x) else x[few]
        rows = xp.ndarray((few.stop - start, *out, length), x.dtype)
        width = 16 // x.dtype.itemsize
        wide = x.shape[-1] % width == 0 and is_aligned(some, rows)
        each, kernel = (width, _WIDE) if wide else (1, _NARROW)
        shape = (*x.shape[1:3], x.shape[-1] // each, out[1])
        kernel(
            x.dtype, (out[0], few.stop - start), some, rows, *shape, *size, *stride, *offset, *dilation, length // each
        )
        yield few, rows.reshape(math.prod(rows.shape[:3]), length)


def _packed(xp, w, length):
    """A weight (O, C, kh, kw) as the matrix (O, kh·kw·C), with zeros up to `length`."""
    matrix = xp.ndarray((len(w), length), w.dtype)
    strides = [s // w.dtype.itemsize for s in w.strides]
    _PACK(w.dtype, blocks_for(matrix.size), w, matrix, matrix.size, *w.shape[1:], length, *strides)
    return matrix


def _unpacked(xp, matrix, shape):
    """The opposite of `_packed`."""
    w = xp.ndarray(shape, matrix.dtype)
    _UNPACK(w.dtype, blocks_for(w.size), matrix, w, w.size, *shape[1:], matrix.shape[1])
    return w


faster_convolutions("cuda", lambda *arrays: all(map(usable, arrays)), correlate, correlate_over_batch)
