"""The one place that knows there are two array libraries: NumPy, and CuPy where there is an NVIDIA GPU.

Everything else asks `array_module(x)` for the library that made `x` and calls functions of that name in it. CuPy is
imported when a GPU is asked for, never before.
"""

import importlib.util
import math
import os
import platform
import sys

import numpy

DEVICES = ("cpu", "cuda")


def is_available(device):
    """Whether arrays can be made on `device`, "cpu" or "cuda"."""
    if device not in DEVICES:
        raise ValueError(f"unknown device {device!r}: expected one of {', '.join(DEVICES)}")
    if device == "cpu":
        return True
    if "cupy" not in sys.modules and importlib.util.find_spec("cupy") is None:
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
    base = getattr(array, "base", None)
    while base is not None and (type(base) is type(array) or is_array(base)):
        array, base = base, base.base
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
    parts = list(index if isinstance(index, tuple) else (index,))
    parts = [numpy.asarray(p, None if p else int) if isinstance(p, (list, tuple)) else p for p in parts]
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
