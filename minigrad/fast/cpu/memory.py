"""Keep the memory of freed arrays for the next ones.

Linux's C library hands arrays of more than a few megabytes back to the operating system as soon as they are freed, and
every new one is then zeroed page by page on its first use: in a training step, which frees and makes the same arrays
over and over, that costs about a sixth of the time. Raising two limits of its allocator ends it.
"""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # from <malloc.h>
kept = False  # whether the limits have been raised in this process


def keep_freed_memory():
    """Ask the allocator to reuse memory of any size up to 1 GiB instead of returning it. Does nothing without glibc."""
    global kept
    kept = True
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt") and hasattr(libc, "gnu_get_libc_version"):
            libc.mallopt(M_MMAP_THRESHOLD, 2**30)
            libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
