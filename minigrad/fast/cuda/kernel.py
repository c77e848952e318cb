"""Kernel: a function compiled for an NVIDIA GPU; and what all kernels ask of arrays.

`usable` decides, everywhere: a kernel runs on arrays of the real CuPy in float32 or float64, all of one dtype. All
other arrays, NumPy's among them, take the plain form.

The sources are C++ in which `T` stands for the dtype. They know nothing of CuPy: `gpu.raw_kernel` makes functions
of them. Python's ints arrive as `long long`, its floats as `double`.
"""

import functools

import numpy

from minigrad import backend
from minigrad.fast.cuda import gpu

KERNELS = []  # every Kernel: tests compile them all
THREADS = 256  # in a block, unless a kernel says otherwise
PIECE = 4096  # of several arrays, what a block sees to: see `pieces`

PRELUDE = r"""
const int W = 16 / sizeof(T);  // so many entries are read or written at once: 16 bytes
template <int V> struct alignas(V * sizeof(T)) Pack { T entry[V]; };

// The sum over all threads of a block, which is a power of two, for each of them.
__device__ T block_sum(T value, T* scratch) {
    scratch[threadIdx.x] = value;
    __syncthreads();
    for (int half = blockDim.x / 2; half; half /= 2) {
        if (threadIdx.x < half) scratch[threadIdx.x] += scratch[threadIdx.x + half];
        __syncthreads();
    }
    T total = scratch[0];
    __syncthreads();
    return total;
}
"""


class Kernel:
    """A function in CUDA C++, compiled for a dtype at its first call.

    Parameters
    ----------
    name : str
        Of the function, which is `extern "C" __global__`.
    source : str
        With `T` for the dtype; `PRELUDE` comes before it.
    """

    def __init__(self, name, source):
        self.name, self._source, self._compiled = name, source, {}
        KERNELS.append(self)

    def source(self, dtype):
        """The whole source for float32 or float64."""
        return f"typedef {'float' if dtype.itemsize == 4 else 'double'} T;\n{PRELUDE}{self._source}"

    def __call__(self, dtype, blocks, *args, threads=None):
        """Start it with so many blocks (an int, or one for each direction). It runs while Python goes on."""
        kernel = self._compiled.get(dtype.char)
        if kernel is None:
            kernel = self._compiled[dtype.char] = gpu.raw_kernel(self.name, self.source(dtype))
        kernel(blocks if isinstance(blocks, tuple) else (blocks,), (threads or THREADS,), args)


def usable(first, *others):
    """Whether kernels can compute on these: real GPU arrays with entries, of one dtype, float32 or float64."""
    if not gpu.runs_kernels(first) or first.dtype.char not in "fd" or not first.size:
        return False
    for array in others:
        if type(array) is not type(first) or array.dtype != first.dtype or not array.size:
            return False
    return True


def has_no_gaps(array):
    """Whether the entries fill a piece of memory, in whatever order of the axes."""
    if is_channels_last(array) or array.flags.c_contiguous:
        return True
    expected = array.itemsize
    for stride, size in sorted(zip(array.strides, array.shape, strict=True)):
        if size > 1:
            if stride != expected:
                return False
            expected *= size
    return True


def empty_like(array):
    """A new array of the same shape, dtype and memory order, for an array without gaps."""
    xp = backend.array_module(array)
    if is_channels_last(array):
        n, c, h, w = array.shape
        return xp.ndarray((n, h, w, c), array.dtype).transpose(0, 3, 1, 2)
    if array.flags.c_contiguous:
        return xp.ndarray(array.shape, array.dtype)
    return xp.empty_like(array)


def is_channels_last(array):
    """Whether these are images (N, C, H, W) that lie in memory channels last, without gaps.

    False also for some that could be seen so: those with an axis of size 1, whose stride means nothing.
    """
    if array.ndim != 4:
        return False
    _, c, h, w = array.shape
    size = array.itemsize
    return array.strides == (h * w * c * size, size, w * c * size, c * size)


def like(array, reference):
    """`array` in the memory order of `reference`, of the same shape and without gaps: itself, or a copy."""
    if array.strides == reference.strides:
        return array
    copy = empty_like(reference)
    copy[...] = array
    return copy


def blocks_for(count, each=1):
    """How many blocks of THREADS it takes for `count` entries, if a thread sees to so many of them."""
    return -(-count // (THREADS * each))


@functools.lru_cache(maxsize=32)
def pieces(xp, sizes):
    """For a kernel that goes through several arrays of these sizes in pieces of PIECE: for each of its blocks the array
    that it works on, and which piece of it."""
    owner = [i for i, size in enumerate(sizes) for _ in range(-(-size // PIECE))]
    first = [piece for size in sizes for piece in range(-(-size // PIECE))]
    return xp.asarray(numpy.array(owner, numpy.int32)), xp.asarray(numpy.array(first, numpy.int32))


def is_aligned(*arrays):
    """Whether 16 bytes can be read at once from the beginning of each array."""
    return all(gpu.address(a) % 16 == 0 for a in arrays)
