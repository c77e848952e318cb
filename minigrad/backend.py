"""The one place that knows there are two array libraries: NumPy, and CuPy where there is an NVIDIA GPU.

Everything else asks `array_module(x)` for the library that made `x` and calls functions of that name in it. CuPy is
imported when a GPU is asked for, never before. The second half is what the kernels in kernels/cuda need to be started.
"""

import ctypes
import functools
import importlib.util
import math
import os
import platform
import struct
import sys
import threading

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


def description(device):
    """What `device` is here, in words: "NVIDIA H200, CUDA 13.0, CuPy 14.2.0", or the processor's kind and its cores."""
    if device == "cpu":
        return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, NumPy {numpy.__version__}"
    cupy = module_for(device)
    runtime = cupy.cuda.runtime
    name = runtime.getDeviceProperties(runtime.getDevice())["name"].decode()
    version = runtime.runtimeGetVersion()
    return f"{name}, CUDA {version // 1000}.{version % 1000 // 10}, CuPy {cupy.__version__}"


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


# ---- kernels on a GPU: nothing below runs on the CPU -----------------------------------------------------------------


def runs_kernels(array):
    """Whether compiled kernels can work on `array`: whether it is an array of a library that makes them."""
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(array, cupy.ndarray) and hasattr(cupy, "RawKernel")


@functools.cache
def raw_kernel(name, source):
    """The function `name` of some CUDA source as a kernel: call it with (grid, block, arguments). Compiled when used.

    Arguments are arrays (their addresses arrive), Python's ints and floats (as 64 bits each), NumPy's numbers, and
    bytearrays (their contents arrive: a struct by value).
    """
    return _Launcher(name, source)


class _Launcher(threading.local):
    """A kernel and, for each thread, the buffer from which CUDA reads its arguments.

    `cupy.RawKernel` compiles it, but its own call takes about a microsecond for each number among the arguments.
    """

    def __init__(self, name, source):
        self.name, self.source, self.formats = name, source, {}

    def _prepare(self, types):
        """How to write arguments of these types into memory, 8 bytes for each, and pointers to each of them."""
        form = "".join(_CODES.get(t, "Q") for t in types)
        buffer = ctypes.create_string_buffer(8 * len(types))
        first = ctypes.addressof(buffer)
        pointers = (ctypes.c_void_p * len(types))(*(first + 8 * i for i in range(len(types))))
        is_array = [t not in _CODES for t in types]
        structs = [i for i, t in enumerate(types) if t is bytearray]
        prepared = (
            struct.Struct("<" + form).pack_into,
            buffer,
            ctypes.addressof(pointers),
            pointers,
            is_array,
            structs,
        )
        self.formats[types] = prepared
        return prepared

    def __call__(self, grid, block, args):
        types = tuple(map(type, args))
        prepared = self.formats.get(types)
        if prepared is None:
            import cupy
            from cupy_backends.cuda.api import driver

            if not self.formats:
                self.function, self.start = cupy.RawKernel(self.source, self.name).kernel, driver.launchKernel
                self.stream = cupy.cuda.get_current_stream
            prepared = self._prepare(types)
        pack, buffer, address, pointers, is_array, structs = prepared
        for i in structs:
            content = (ctypes.c_char * len(args[i])).from_buffer(args[i])
            pointers[i] = ctypes.addressof(content)
            args = (*args[:i], 0, *args[i + 1 :])
        pack(buffer, 0, *[a.data.ptr if array else a for a, array in zip(args, is_array, strict=True)])
        rows = grid[1] if len(grid) > 1 else 1
        self.start(self.function.ptr, grid[0], rows, 1, block[0], 1, 1, 0, self.stream().ptr, address, 0)


_CODES = {float: "d", int: "q", bytearray: "Q", numpy.int64: "q", numpy.uint64: "Q", numpy.int32: "i4x",
          numpy.uint32: "I4x", numpy.float64: "d", numpy.float32: "f4x"}  # fmt: skip # struct's, each padded to 8 bytes


def address(array):
    """Where in memory the array begins, its own memory or the GPU's."""
    return array.ctypes.data if isinstance(array, numpy.ndarray) else array.data.ptr


def stream():
    """The address of the CUDA stream that everything is put into."""
    import cupy

    return cupy.cuda.get_current_stream().ptr


def seconds(function, repetitions=3):
    """How long the GPU takes for what the function starts: the shortest of a few times, after a first one."""
    import cupy

    function()
    times = []
    for _ in range(repetitions):
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        function()
        end.record()
        end.synchronize()
        times.append(cupy.cuda.get_elapsed_time(start, end) / 1000)
    return min(times)


def matrix_product(a, b, out, fast):
    """a @ b into `out`, all without gaps, `out` in C order; `fast` allows float32 on a GPU to become TF32."""
    if not a.shape[1]:
        out[...] = 0
    elif runs_kernels(a) and a.dtype.char in "fd":
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
