"""Sums and shifts per channel, of (N, C) arrays and of images (N, C, H, W): biases, and what batch normalization does.

In memory channels come last, as convolutions leave them, so an array is a matrix with a row for each pixel and a
column for each channel. The sums are added up in two stages, always in the same order, without atomic
additions, so that a training run gives the same bits every time.
"""

from minigrad import backend
from minigrad.fast.batch_norm import faster_batch_norm
from minigrad.fast.cuda.elementwise import Elementwise
from minigrad.fast.cuda.kernel import Kernel, is_channels_last, usable
from minigrad.fast.replace import faster, instead

COLUMNS = 32  # neighbouring columns that the threads of a block read together; the others take the next rows
BLOCKS = 1024  # about so many make the GPU busy

TEMPLATE = r"""
extern "C" __global__ void %(name)s(%(pointers)s, T* sums, long long rows, int columns, long long rows_each,
                                   double factor) {
    __shared__ T scratch[256];
    int column = blockIdx.x * 32 + threadIdx.x %% 32, lane = threadIdx.x / 32, lanes = blockDim.x / 32;
    long long first = blockIdx.y * rows_each, last = first + rows_each < rows ? first + rows_each : rows;
    T total[%(count)s] = {};
    if (column < columns) {
        %(read)s
        #pragma unroll 4
        for (long long row = first + lane; row < last; row += lanes) {
            long long i = row * columns + column;
            %(entries)s
            %(add)s
        }
    }
    for (int k = 0; k < %(count)s; k++) {
        scratch[threadIdx.x] = total[k];
        __syncthreads();
        for (int half = lanes / 2; half; half /= 2) {
            if (lane < half) scratch[threadIdx.x] += scratch[threadIdx.x + 32 * half];
            __syncthreads();
        }
        if (lane == 0 && column < columns)
            sums[(blockIdx.y * (long long)%(count)s + k) * columns + column] = scratch[threadIdx.x] * (T)factor;
        __syncthreads();
    }
}
"""


class Sums:
    """For each channel the sums of one or more expressions in `arrays` and per-channel numbers."""

    def __init__(self, name, expressions, arrays, channels=()):
        self.count = len(expressions)
        self.kernel = Kernel(
            name,
            TEMPLATE
            % {
                "name": name,
                "pointers": ", ".join(f"const T* {a}_" for a in (*arrays, *channels)),
                "count": self.count,
                "read": " ".join(f"const T {c} = {c}_[column];" for c in channels),
                "entries": " ".join(f"const T {a} = {a}_[i];" for a in arrays),
                "add": " ".join(f"total[{k}] += {e};" for k, e in enumerate(expressions)),
            },
        )

    def __call__(self, *arrays, factor=1.0):
        """(expressions, C): the sums times `factor`, of arrays in rows and, after them, per-channel numbers."""
        columns = arrays[0].shape[1]
        rows = arrays[0].size // columns
        tiles = -(-columns // COLUMNS)
        slabs = max(1, min(BLOCKS // tiles, rows // 64))
        each = -(-rows // slabs)
        slabs = -(-rows // each)
        xp = backend.array_module(arrays[0])
        sums = xp.ndarray((slabs, self.count, columns), arrays[0].dtype)
        self.kernel(sums.dtype, (tiles, slabs), *arrays, sums, rows, columns, each, 1.0 if slabs > 1 else factor)
        if slabs == 1:
            return sums[0]
        total = xp.ndarray((self.count, columns), sums.dtype)
        width = self.count * columns
        _of_x.kernel(sums.dtype, (-(-width // COLUMNS), 1), sums, total, slabs, width, slabs, factor)
        return total


def means_of_images(x):
    """The mean of each channel of each image (N, C, H, W): (N, C)."""
    n, columns, places = len(x), x.shape[1], x.shape[2] * x.shape[3]
    if n > 65535:  # CUDA's limit for the grid's second direction
        return x.mean(axis=(2, 3))
    means = backend.array_module(x).ndarray((n, columns), x.dtype)
    _of_x.kernel(x.dtype, (-(-columns // COLUMNS), n), channels_last(x), means, n * places, columns, places, 1 / places)
    return means


def _numbers(x, *vectors):
    """Arrays with a number for each channel of x, without gaps and in the dtype of x: kernels see only addresses."""
    for v in vectors:
        if v.shape != (x.shape[1],):
            raise ValueError(f"{v.shape} must hold one number for each of the {x.shape[1]} channels of {x.shape}")
    return [backend.array_module(v).ascontiguousarray(v, x.dtype) for v in vectors]


def channels_last(x):
    """`x` channels last in memory, and without gaps: itself if it is so already."""
    if x.ndim == 2:
        return backend.array_module(x).ascontiguousarray(x)
    if is_channels_last(x):
        return x
    return backend.array_module(x).ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def usable_per_channel(x, *others):
    """Whether the functions below take these arrays."""
    return usable(x, *others) and x.ndim in (2, 4)


_of_x = Sums("sum_x", ["x"], ["x"])
_deviations = Sums("sum_deviations", ["(x - mean) * (x - mean)"], ["x"], ["mean"])
_of_gradients = Sums("sum_gradients", ["g", "g * (x - mean)"], ["g", "x"], ["mean"])
_plus = Elementwise("add_bias", "x + b", ["x"], ["b"])
_shifted = Elementwise("shift", "x + (b - mean)", ["x"], ["mean", "b"])
_centered = Elementwise("center", "x - total * share", ["x"], ["total"], ["share"])
_scaled = Elementwise("normalize", "(x - mean) * scale + b", ["x"], ["mean", "scale", "b"])
_product = Elementwise("product", "a * b", ["a", "b"])
_normalized_gradient = Elementwise(
    "normalize_gradient",
    "(g - along * share - (x - mean) * (inverse * inverse * across * share)) * (weight * inverse)",
    ["g", "x"],
    ["mean", "inverse", "weight", "along", "across"],
    ["share"],
)


def sums(x):
    """Σ over everything but the channels: (C,)."""
    return _of_x(channels_last(x))[0]


def add_bias(x, bias):
    """x + bias in the place of x, whose channels are neighbours."""
    return _plus([x], _numbers(x, bias), out=x)


def mean(x):
    """The mean of each channel: (C,)."""
    return _of_x(channels_last(x), factor=x.shape[1] / x.size)[0]


def shifted(x, mean, bias):
    """x - mean + bias."""
    return _shifted([channels_last(x)], _numbers(x, mean, bias))


def without_mean_gradients(g):
    """(g - μ[g], Σ g) per channel: equation 8 of the weight normalization paper, and the gradient of the bias."""
    g = channels_last(g)
    total = sums(g)
    return _centered([g], [total], [g.shape[1] / g.size]), total


def moments(x):
    """(mean, biased variance) of each channel; the variance from the deviations, so that nothing cancels."""
    average = mean(x)
    return average, _deviations(channels_last(x), average, factor=x.shape[1] / x.size)[0]


def normalized(x, mean, scale, bias):
    """(x - mean) · scale + bias."""
    return _scaled([channels_last(x)], _numbers(x, mean, scale, bias))


def normalized_gradients(g, x, mean, inverse, weight):
    """The gradients of batch normalization, weight · (x - mean) · inverse + bias, for x, weight and bias.

    mean and inverse = 1/√(var + eps) count as functions of x.
    """
    if g.shape != x.shape:
        raise ValueError(f"the gradient {g.shape} must be of the shape of x {x.shape}")
    x, g = channels_last(x), channels_last(g)
    mean, inverse, weight = _numbers(x, mean, inverse, weight)
    along, across = _of_gradients(g, x, mean)
    share = x.shape[1] / x.size
    grad_x = _normalized_gradient([g, x], [mean, inverse, weight, along, across], [share])
    return grad_x, _product([across, inverse]), along


# ---- in the place of the plain forms --------------------------------------------------------------------------------


def _over_places(x, axis, keepdims):
    """Whether `axis` stands for everything but the channels."""
    return not keepdims and (axis in (0, (0,)) if x.ndim == 2 else axis == (0, 2, 3))


for name, function in (("sum", sums), ("mean", mean)):
    special = instead(
        lambda xp, x, axis=None, keepdims=False, function=function: function(x),
        lambda xp, x, axis=None, keepdims=False: usable_per_channel(x) and _over_places(x, axis, keepdims),
    )
    faster(name, "cuda", special)
faster(
    "mean",
    "cuda",
    instead(
        lambda xp, x, axis=None, keepdims=False: means_of_images(x),
        lambda xp, x, axis=None, keepdims=False: (
            usable_per_channel(x) and x.ndim == 4 and axis == (2, 3) and not keepdims
        ),
    ),
)
faster_batch_norm("cuda", usable_per_channel, moments, normalized, normalized_gradients)
