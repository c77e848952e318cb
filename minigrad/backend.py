"""The one place that knows there are two array libraries: NumPy, and CuPy where there is an NVIDIA GPU.

Everything else asks `array_module(x)` for the library that made `x` and calls functions of that name in it. CuPy is
imported when a GPU is asked for, never before.
"""

import functools
import importlib.util
import math
import sys

import numpy

DEVICES = ("cpu", "cuda")


def is_available(device):
    """Whether arrays can be made on `device`, "cpu" or "cuda"."""
    if device not in DEVICES:
        raise ValueError(f"unknown device {device!r}: expected one of {', '.join(DEVICES)}")
    if device == "cpu":
        return True
    if importlib.util.find_spec("cupy") is None:
        return False
    import cupy

    return bool(cupy.cuda.is_available())


def is_array(value):
    """Whether `value` is an array of one of the two libraries (a NumPy scalar is not)."""
    if isinstance(value, numpy.ndarray):
        return True
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(value, cupy.ndarray)


def array_module(*values):
    """The library, `numpy` or `cupy`, that the arrays among `values` belong to.

    Raises
    ------
    TypeError
        If they belong to both. Nothing is ever copied between devices without being asked for.
    """
    cupy = sys.modules.get("cupy")
    if cupy is None:  # nothing has imported it yet, so no array can live on a GPU
        return numpy
    on_gpu = [value for value in values if isinstance(value, cupy.ndarray)]
    on_cpu = [value for value in values if isinstance(value, numpy.ndarray)]
    if on_gpu and on_cpu:
        raise TypeError(
            f"arrays on two devices: cpu {on_cpu[0].shape} {on_cpu[0].dtype} and cuda {on_gpu[0].shape} "
            f'{on_gpu[0].dtype}; move one of them with .to("cuda") or .to("cpu")'
        )
    return cupy if on_gpu else numpy


def owner(array):
    """The array whose memory `array` is a view of, or `array` itself."""
    while is_array(getattr(array, "base", None)):
        array = array.base
    return array


def device_of(array):
    """ "cpu" or "cuda"."""
    return "cpu" if array_module(array) is numpy else "cuda"


def module_for(device):
    """The library that makes arrays on `device`; RuntimeError when there is no such device here."""
    if not is_available(device):
        raise RuntimeError("no CUDA device: CuPy is not installed or finds no NVIDIA GPU; use device='cpu'")
    if device == "cpu":
        return numpy
    import cupy

    return cupy


def to_device(array, device):
    """`array` on `device`: itself when it is there already, else a copy."""
    if device_of(array) == device:
        return array
    target = module_for(device)
    return array.get() if target is numpy else target.asarray(array)


def to_numpy(array):
    """`array` as a NumPy array: itself when it is one, else a copy from the GPU."""
    return to_device(array, "cpu")


def index_into(x, index):
    """`index` with its arrays on the device of x, and none of them out of range.

    NumPy sees to that by itself; CuPy would count on from the other end. Numbers from the host are looked at there,
    those on the GPU at the price of a synchronization.
    """
    arrays = [part for part in (index if isinstance(index, tuple) else (index,)) if is_array(part)]
    if array_module(x) is numpy:
        array_module(x, *arrays)  # on two devices?
        return index
    parts = [numpy.asarray(p, None if p else int) if isinstance(p, (list, tuple)) else p
             for p in (index if isinstance(index, tuple) else (index,))]  # fmt: skip
    used = [0 if p is None or p is Ellipsis else p.ndim if is_array(p) and p.dtype == bool else 1 for p in parts]
    axis = 0
    for i, part in enumerate(parts):
        if is_array(part):
            if part.dtype.kind in "iu" and part.size and axis < x.ndim:
                low, high, size = int(part.min()), int(part.max()), x.shape[axis]
                if low < -size or high >= size:
                    raise IndexError(f"indices from {low} to {high} for axis {axis} of an array of shape {x.shape}")
            parts[i] = to_device(part, "cuda")
        axis += x.ndim - sum(used) if part is Ellipsis else used[i]
    return tuple(parts) if isinstance(index, tuple) else parts[0]


def runs_kernels(array):
    """Whether compiled kernels can work on `array`: whether it is an array of a library that makes them."""
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(array, cupy.ndarray) and hasattr(cupy, "RawKernel")


@functools.cache
def raw_kernel(name, source):
    """The function `name` of some CUDA source as a kernel: call it with (grid, block, arguments). Compiled when used."""
    import cupy

    return cupy.RawKernel(source, name)


def address(array):
    """Where in memory the array begins, its own memory or the GPU's."""
    return array.ctypes.data if isinstance(array, numpy.ndarray) else array.data.ptr


def matrix_product(a, b, out, fast):
    """a @ b into `out`, all without gaps, `out` in C order; `fast` allows float32 on a GPU to become TF32."""
    if runs_kernels(a) and a.dtype.char in "fd":
        _gemm(a, b, out, fast)
    else:
        array_module(a).dot(a, b, out=out)


def _gemm(a, b, out, fast):
    """`matrix_product` by cuBLAS, which is the only one that takes the precision with each call.

    cuBLAS thinks in columns: a matrix in C order is to it the transposed one, so it gets outᵀ = bᵀ aᵀ.
    """
    from cupy.cuda import cublas, device

    wide = a.dtype.itemsize == 8
    kind = 1 if wide else 0  # CUDA_R_64F, CUDA_R_32F
    compute = (cublas.CUBLAS_COMPUTE_64F if wide else cublas.CUBLAS_COMPUTE_32F_FAST_TF32 if fast else
               cublas.CUBLAS_COMPUTE_32F)  # fmt: skip
    (m, k), n = a.shape, b.shape[1]
    a_in_order, b_in_order = a.flags.c_contiguous, b.flags.c_contiguous
    one, zero = _NUMBERS[wide]
    cublas.gemmEx(
        device.get_cublas_handle(), 0 if b_in_order else 1, 0 if a_in_order else 1, n, m, k, one,
        b.data.ptr, kind, n if b_in_order else k, a.data.ptr, kind, k if a_in_order else m, zero,
        out.data.ptr, kind, n, compute, cublas.CUBLAS_GEMM_DEFAULT,
    )  # fmt: skip


_ONE_AND_ZERO = [numpy.array([1, 0], dtype) for dtype in (numpy.float32, numpy.float64)]
_NUMBERS = [(pair.ctypes.data, pair.ctypes.data + pair.itemsize) for pair in _ONE_AND_ZERO]


def scatter_add(xp, target, index, values):
    """`target[index] += values` in which repeated indices add up, as plain `+=` would not."""
    xp.add.at(target, index, values)


def erf(xp, x):
    """The error function. NumPy has none, so there each entry goes through `math.erf`."""
    if xp is numpy:
        return numpy.asarray(_erf(x), dtype=numpy.result_type(x, numpy.float16))
    from cupyx.scipy.special import erf as cupy_erf

    return cupy_erf(x)


_erf = numpy.frompyfunc(math.erf, 1, 1)
