"""Keep the memory of freed arrays for the next ones.

Linux's C library hands large arrays back to the operating system as soon as they are freed, and every new one is then
zeroed page by page on its first use. A training step, which frees and makes the same arrays over and over, spends about
a sixth of its time on that: raising two limits of the allocator ends it. And copying windows into new memory takes
three times as long as into memory that a thread has used before: what is needed for a moment only is `scratch`.
"""

import ctypes
import math
import sys
import threading

import numpy

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # from <malloc.h>
LARGEST = 2**23  # bytes of a scratch array that a thread holds on to
kept = False  # whether the limits have been raised in this process
_scratch = threading.local()


def keep_freed_memory():
    """Ask the allocator to reuse memory of any size up to 1 GiB instead of returning it. Does nothing without glibc."""
    global kept
    kept = True
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt") and hasattr(libc, "gnu_get_libc_version"):
            libc.mallopt(M_MMAP_THRESHOLD, 2**30)
            libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def scratch(name, shape, dtype):
    """An array to be used up before this thread asks for one of this name again, which will lie in the same memory."""
    size = math.prod(shape) * numpy.dtype(dtype).itemsize
    if size > LARGEST:
        return numpy.empty(shape, dtype)
    held = _scratch.__dict__.get(name)
    if held is None or held.size < size:
        held = _scratch.__dict__[name] = numpy.empty(size, numpy.uint8)
    return held[:size].view(dtype).reshape(shape)
